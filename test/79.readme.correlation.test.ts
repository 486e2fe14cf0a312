/** The README's correlation cache: run as it stands, against a served engine.
 *  Owns:   one engine, and a folder with the example in it.   Thread: main of a test process.
 *  Holds:  it has at most 30 lines.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { PROJECT, serve } from './helpers/engine.ts'

interface Correlations {
  get(a: string, b: string): Promise<number | undefined>
  set(a: string, b: string, value: number): Promise<boolean>
  forget(a: string, b: string): Promise<number>
  of(a: string, b: string, compute: () => number): Promise<number>
  clear(): Promise<number>
  statistics(): Promise<{ memoryHits: number; misses: number; hitRate: number }>
  close(): Promise<void>
}

const README = readFileSync(join(PROJECT, 'README.md'), 'utf8')
const example = [...README.matchAll(/^```ts\n(.*?)^```/gms)]
  .map(match => match[1]!)
  .find(code => code.includes('export const correlations'))!

test('the correlation cache has at most 30 lines', () => {
  assert.ok(example.trimEnd().split('\n').length <= 30)
})

test('the correlation cache knows a pair whichever way round, for an hour, and counts its reads', async t => {
  const engine = await serve(t)
  const correlations = await load(engine.folder, engine.socket)
  t.after(() => correlations.close())
  assert.equal(await correlations.get('sun', 'heat'), undefined)
  await correlations.set('sun', 'heat', 0.93)
  assert.equal(await correlations.get('heat', 'sun'), 0.93)
  assert.equal(await correlations.get('sun', 'heat'), 0.93)
  assert.equal(await correlations.get('sun', 'cold'), undefined)

  let computed = 0
  const compute = () => 1 / ++computed
  assert.equal(await correlations.of('a', 'b', compute), 1)
  assert.equal(await correlations.of('b', 'a', compute), 1)
  assert.equal(computed, 1)
  // No two pairs share a key, whatever characters they have.
  await correlations.set('a,b', 'c', 1)
  assert.equal(await correlations.get('a', 'b,c'), undefined)

  const { cache } = await engine.connect()
  const ttlMs = (await cache.namespace('correlation').ttl('["heat","sun"]'))!
  assert.ok(ttlMs > 3_500_000 && ttlMs <= 3_600_000, `${ttlMs} ms`)

  const { memoryHits, misses, hitRate } = await correlations.statistics()
  assert.deepEqual([memoryHits, misses, hitRate], [3, 4, 3 / 7])
  assert.equal(await correlations.forget('heat', 'sun'), 1)
  await correlations.clear()
  assert.equal(await correlations.get('a', 'b'), undefined)
})

/** The example as a module of a project that depends on the package. */
async function load(folder: string, socket: string): Promise<Correlations> {
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(PROJECT, join(folder, 'node_modules', 'hearth'))
  const file = join(folder, 'correlations.mjs')
  writeFileSync(file, example.replace("name: 'correlations'", `socket: '${socket}'`))
  return (await import(file)).correlations as Correlations
}
