/** hearth/keyv under Keyv's own public test suite, as it is published: API, values, namespaces and iteration.
 *  Owns:   one engine for the file.   Thread: main of a test process.
 *  Holds:  every test of the suite runs, through a served engine; only vitest's words are said in node:test's.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import * as suite from '@keyv/test-suite'
import Keyv from 'keyv'
import { KeyvHearth } from '../engine/client/keyv.ts'
import { serve } from './helpers/engine.ts'
import { vitestFace } from './helpers/vitest_face.ts'

const engine = await serve({ after })
const shared = new KeyvHearth({ socket: engine.socket, name: 'keyv suite' })
after(() => shared.disconnect())
const names: string[] = []
/** The suite takes vitest's whole API for its type. */
const face = vitestFace(names) as never
/** As Keyv's own adapters are tested: each Keyv has an adapter of its own, on the same data. */
const adapters: KeyvHearth[] = []
const store = (): KeyvHearth => {
  const adapter = new KeyvHearth({ socket: engine.socket })
  adapters.push(adapter)
  return adapter
}
after(async () => {
  for (const adapter of adapters) await adapter.disconnect()
})

describe('its whole suite, with an adapter for each Keyv', () => {
  suite.default(face, Keyv, store)
})

describe('its iterators, with an adapter for each Keyv', () => {
  suite.keyvIteratorTests(face, Keyv, store)
})

describe('all but namespaces, with one adapter for all: clear() is of the namespace that came last', () => {
  suite.keyvApiTests(face, Keyv, () => shared)
  suite.keyvValueTests(face, Keyv, () => shared)
  suite.keyvIteratorTests(face, Keyv, () => shared)
})

test('it was all that the package has for storage adapters', () => {
  const published = readFileSync(fileURLToPath(import.meta.resolve('@keyv/test-suite')), 'utf8')
  // What it has for compression is about adapters of another kind.
  const storage = published.replace(/var keyvCompressionTests = .*?^};/ms, '')
  const count = storage.match(/test\.it\(/g)!.length
  assert.equal(new Set(names).size, count)
})
