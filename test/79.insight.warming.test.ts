/** Query insight and warming: results read most are fetched anew after a restart, if cache advice says that they seldom change.
 *  Owns:   one server; engines as processes of their own, stopped, killed and started again.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { connect, type Hearth } from '../engine/client/index.ts'
import { prepare, type ServedEngine } from './helpers/engine.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { until } from './helpers/postgres_pool.ts'
import { WireClient } from './helpers/postgres_wire.ts'
import { asUser, openTheWay, skipUnlessRoot } from './helpers/users.ts'

const STILL = 'select value from still where id = $1'
const CHANGING = 'select value from changing where id = $1'
const LASTING = { cache: { ttlMs: 600_000 } }
/** Recognisable: parameters are shown nowhere. */
const SECRET = 's3cretPar4meter'
const READER_UID = 54_301
const WARMED_MS_MAX = 15_000
let url: string

before(async () => {
  const postgres = await sharedPostgres()
  url = await postgres.createDatabase('warming')
  await onServer(async admin => {
    for (const table of ['changing', 'still'])
      await admin.query(`create table ${table} (id text primary key, value int);
        insert into ${table} values ('${SECRET}', 0), ('2', 0)`)
    await admin.query('create role reader nologin')
    await admin.query('grant select on still to reader')
  })
})

async function onServer(work: (admin: WireClient) => Promise<unknown>): Promise<void> {
  const admin = await WireClient.open(url)
  await work(admin)
  await admin.close()
}

const plain = (engine: ServedEngine): Promise<Hearth> => engine.connect({ sharedMemory: false })

async function ask(hearth: Hearth, sql: string, id = SECRET) {
  const { source, rows } = await hearth.db.query(sql, [id], LASTING)
  return { source, value: rows[0]!['value'] }
}

const warmedIn = async (hearth: Hearth) => (await hearth.stats()).memory.warmed?.results ?? null

/** The first result that is kept has writes from elsewhere listened to, and ends with what is there once they are. */
async function untilListening(hearth: Hearth, sql: string): Promise<void> {
  await ask(hearth, sql, '2')
  await until('it listens', async () => {
    const { reason } = (await hearth.stats()).pools['main']!['outside'] as { reason?: string }
    return !/not listening/.test(reason ?? '')
  })
}

function onFile<T>(engine: ServedEngine, work: (file: Database.Database) => T): T {
  const file = new Database(engine.sqliteFile)
  try {
    return work(file)
  } finally {
    file.close()
  }
}

const listOf = (engine: ServedEngine): Buffer | undefined =>
  onFile(engine, file => {
    const table = file.prepare("select 1 from sqlite_schema where name = 'hot'").get()
    if (table === undefined) return undefined
    return file.prepare('select list from hot where id = 2').pluck().get() as Buffer | undefined
  })

/** An engine that has a still result and one that another was found for at each look, both read more than once; it runs yet. */
async function used(t: TestContext, env: Record<string, string> = {}): Promise<ServedEngine> {
  const engine = await prepare(t, { HEARTH_POSTGRES_MAIN_URL: url, ...env }).start()
  const hearth = await plain(engine)
  await untilListening(hearth, STILL)
  for (let i = 0; i < 8; i++) {
    await hearth.db.query('update changing set value = value + 1')
    await ask(hearth, STILL)
    await ask(hearth, CHANGING)
    await sleep(25)
  }
  for (const sql of [STILL, CHANGING])
    await until('it is kept', async () => (await ask(hearth, sql)).source === 'memory')
  // Has main tell the worker what the cache has answered.
  await hearth.insight.statements()
  await hearth.close()
  return engine
}

describe('after a restart', { concurrency: 3 }, () => {
  test('what seldom changes is in memory, as it is now, before anybody asks; what changes often is not', async t => {
    const engine = await used(t, { HEARTH_CACHE_WARM_INTERVAL: '50ms' })
    await engine.stop()
    await onServer(admin => admin.query('update still set value = 5'))
    await engine.start()
    await engine.untilLogged('warmed results', WARMED_MS_MAX)
    let hearth = await plain(engine)
    const figures = await warmedIn(hearth)
    assert.equal(figures?.entries, 1, JSON.stringify(figures))
    assert.equal(figures.outOf, 2)
    assert.ok(figures.bytes > 0)
    assert.deepEqual(await ask(hearth, STILL), { source: 'memory', value: 5 })
    assert.equal((await ask(hearth, CHANGING)).source, 'primary')
    await hearth.db.query('update still set value = 6')
    assert.deepEqual(await ask(hearth, STILL), { source: 'primary', value: 6 }, 'a write ends it')
    assert.ok(!engine.log().includes(SECRET))
    const statements = await hearth.insight.statements()
    const callers = statements.flatMap(each => each.callers.map(({ name }) => name))
    assert.ok(!callers.includes('warming'), 'no client of that name was there')
    await ask(hearth, STILL)
    await hearth.close()

    for (const entries of [1, 2]) {
      await engine.stop()
      await engine.start()
      hearth = await plain(engine)
      await until(
        'what nobody has asked for yet stays in the list, beside what is new',
        async () => {
          return (await warmedIn(hearth))?.entries === entries
        },
      )
      for (let i = 0; i < 2; i++) await ask(hearth, STILL, '2')
      await hearth.close()
    }
    await engine.kill()
    rmSync(join(engine.stateDir, 'insight.json'))
    await engine.start()
    hearth = await plain(engine)
    await until('the list has outlived the kill', async () => (await warmedIn(hearth)) !== null)
    await sleep(200)
    const unknown = await warmedIn(hearth)
    assert.equal(unknown?.entries, 0, 'of what nothing is known nothing is fetched')
    assert.equal((await ask(hearth, STILL)).source, 'primary')
  })

  test('what would write by now is not asked', async t => {
    const engine = await prepare(t, { HEARTH_POSTGRES_MAIN_URL: url }).start()
    let hearth = await plain(engine)
    await untilListening(hearth, STILL)
    const define = (text: string) =>
      onServer(admin => admin.query(`create or replace function told(text) returns int ${text}`))
    await onServer(admin => admin.query('create table calls (id int)'))
    await define('stable language sql begin atomic select value from still where id = $1; end')
    const TOLD = 'select told($1) as value'
    for (let i = 0; i < 8; i++)
      await until('it is kept', async () => (await ask(hearth, TOLD)).source === 'memory')
    await hearth.insight.statements()
    await hearth.close()
    await engine.stop()
    await define("volatile language sql as 'insert into calls values (1); select 1'")
    await engine.start()
    await engine.untilLogged('warmed results', WARMED_MS_MAX)
    hearth = await plain(engine)
    assert.deepEqual((await warmedIn(hearth))?.entries, 0)
    assert.equal((await hearth.db.query('select 1 from calls')).rowCount, 0)
  })

  test('a database that is away holds up nobody, and the list waits for its return', async t => {
    const engine = await used(t)
    await engine.stop()
    const list = listOf(engine)
    const logged = engine.log().length
    await engine.start({ HEARTH_POSTGRES_MAIN_URL: 'postgres://127.0.0.1:1/nobody' })
    const hearth = await plain(engine)
    await hearth.cache.set('k', 1)
    assert.equal(await hearth.cache.get('k'), 1)
    await engine.untilLogged(/"warmed results".*"entries":0/, WARMED_MS_MAX)
    assert.match(engine.log().slice(logged), /"ready"[^"](.|\n)*"warmed results"/)
    await hearth.close()
    await engine.stop()
    assert.deepEqual(listOf(engine), list)
    await engine.start()
    await engine.untilLogged(/"warmed results".*"entries":1/, WARMED_MS_MAX)
  })

  test('a damaged list is passed over; with cache.warm or insight off there is none', async t => {
    const engine = await used(t)
    await engine.stop()
    const list = listOf(engine)!
    const put = (bytes: Buffer) =>
      onFile(engine, file => file.prepare('update hot set list = ? where id = 2').run(bytes))
    const restarted = async (env: Record<string, string>) => {
      await engine.start(env)
      const hearth = await plain(engine)
      await untilListening(hearth, CHANGING)
      for (let i = 0; i < 2; i++) await ask(hearth, CHANGING)
      assert.equal(await warmedIn(hearth), null)
      await hearth.close()
      await engine.stop()
    }
    for (const off of ['HEARTH_CACHE_WARM', 'HEARTH_INSIGHT_ENABLED']) {
      await restarted({ [off]: 'false' })
      assert.deepEqual(listOf(engine), list, 'nor is one written')
    }
    put(list.subarray(0, -3))
    await restarted({})
    assert.notDeepEqual(listOf(engine), list.subarray(0, -3), 'it is written anew')
  })

  test('results of a role come back to that role alone, and are not asked for once it is gone', {
    skip: skipUnlessRoot,
  }, async t => {
    const engine = prepare(t)
    const file = join(engine.folder, 'hearth.toml')
    const start = async (databases: string): Promise<Hearth> => {
      const of = `like = "service"\nmembers = ["uid:${READER_UID}"]\ndatabases = ["${databases}"]`
      writeFileSync(file, `[postgres.main]\nurl = "${url}"\n[access.reader]\n${of}\n`)
      await engine.start({ HEARTH_CONFIG: file, HEARTH_ENGINE_SOCKET_MODE: '0666' })
      openTheWay(engine.socket)
      return await asUser(READER_UID, () => connect({ socket: engine.socket, failOpen: false }))
    }
    let reader = await start('main as reader')
    let admin = await plain(engine)
    await untilListening(admin, STILL)
    for (let i = 0; i < 8; i++) await ask(reader, STILL)
    await admin.insight.statements()
    for (const hearth of [reader, admin]) await hearth.close()
    await engine.stop()
    reader = await start('main as reader')
    await engine.untilLogged(/"warmed results".*"entries":[12]/, WARMED_MS_MAX)
    admin = await plain(engine)
    assert.equal((await ask(reader, STILL)).source, 'memory')
    assert.equal((await ask(admin, STILL)).source, 'primary')
    for (const hearth of [reader, admin]) await hearth.close()
    await engine.stop()
    reader = await start('main')
    const twice = /"warmed results"(.|\n)*"warmed results"/
    await engine.untilLogged(twice, WARMED_MS_MAX)
    const { pools } = await reader.stats()
    assert.deepEqual(Object.keys(pools), ['main'], 'its own connections were not even opened')
    await reader.close()
  })
})
