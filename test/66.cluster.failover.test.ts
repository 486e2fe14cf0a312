/** Failover: servers that freeze and die under load: who answers meanwhile, who is the primary afterwards, and that nothing is lost.
 *  Owns:   one cluster, which the tests take apart one after the other.   Thread: main of a test process.
 *  Holds:  what was acknowledged is counted by the servers themselves, over connections of the tests' own. */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { before, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { setLogLevel } from '../engine/log.ts'
import type { ClusterOptions, ServerFigures } from '../workers/postgres/database.ts'
import {
  type ClusterServer,
  type PostgresCluster,
  sharedCluster,
} from './helpers/postgres_cluster.ts'
import { openDatabase, type TestDatabase } from './helpers/postgres_database.ts'
import { until } from './helpers/postgres_pool.ts'

let cluster: PostgresCluster
setLogLevel('error')

before(async () => {
  cluster = await sharedCluster([
    'create table written (client int, n int, primary key (client, n))',
    'create table homes (id int primary key, name text)',
    `insert into homes select i, 'home ' || i from generate_series(1, 100) i`,
  ])
})

const READS: [sql: string, params: unknown[]][] = [
  ['select name from homes where id = $1', [1]],
  ['select n from written where client = $1 and n = $2', [0, 0]],
]

async function open(
  t: TestContext,
  options: Partial<ClusterOptions> = {},
  url = cluster.primary.url,
): Promise<TestDatabase> {
  const replicas = cluster.replicas.map(({ name, url }) => ({ name, url, weight: 1 }))
  const opened = openDatabase(t, url, {
    size: 4,
    cluster: { replicas, ...options },
  })
  await opened.database.ready()
  // A statement goes to a replica once the primary has been asked what it does.
  for (const [sql, params] of READS)
    await until(`it goes to a replica: ${sql}`, async () => {
      return (await opened.query(sql, params)).source !== 'primary'
    })
  return opened
}

function serverOf({ database }: TestDatabase, name: string): ServerFigures {
  return database.stats().servers!.find(server => server.name === name)!
}

/** Clients that go on until they are told to stop; what they saw. */
class Load {
  readonly acknowledged: [client: number, n: number][] = []
  readonly readErrors: string[] = []
  readonly writeErrors: string[] = []
  readonly wrong: string[] = []
  readonly readMs: number[] = []
  longestReadGapMs = 0
  longestWriteGapMs = 0
  private isOver = false
  private readonly running: Promise<void>[] = []

  constructor(t: TestContext, { query }: TestDatabase, readers: number, writers: number) {
    t.after(() => this.stop())
    let lastReadMs = performance.now()
    let lastWriteMs = performance.now()
    const read = async (id: number) => {
      while (!this.isOver) {
        const startMs = performance.now()
        try {
          const { rows } = await query('select name from homes where id = $1', [id], 0, 1_000 + id)
          const nowMs = performance.now()
          if (rows[0]?.['name'] !== `home ${id}`) this.wrong.push(JSON.stringify(rows))
          this.readMs.push(nowMs - startMs)
          this.longestReadGapMs = Math.max(this.longestReadGapMs, nowMs - lastReadMs)
          lastReadMs = nowMs
        } catch (error) {
          this.readErrors.push(String(error))
        }
        await sleep(1)
      }
    }
    const write = async (client: number) => {
      for (let n = 1; !this.isOver; n++) {
        try {
          await query('insert into written values ($1, $2)', [client, n], 0, client)
          const nowMs = performance.now()
          this.longestWriteGapMs = Math.max(this.longestWriteGapMs, nowMs - lastWriteMs)
          lastWriteMs = nowMs
          this.acknowledged.push([client, n])
        } catch (error) {
          this.writeErrors.push(String(error))
          await sleep(20)
          continue
        }
        try {
          const sql = 'select n from written where client = $1 and n = $2'
          const { rows, source } = await query(sql, [client, n], 0, client)
          if (rows.length !== 1) this.wrong.push(`client ${client} did not find ${n} at ${source}`)
        } catch (error) {
          this.readErrors.push(String(error))
        }
        await sleep(2)
      }
    }
    for (let i = 1; i <= readers; i++) this.running.push(read(i))
    for (let i = 1; i <= writers; i++) this.running.push(write(i))
  }

  async stop(): Promise<this> {
    this.isOver = true
    await Promise.all(this.running)
    return this
  }

  /** The slowest of the last so many reads but one in a hundred. */
  lastP99Ms(count: number): number {
    const last = this.readMs.slice(-count).toSorted((a, b) => a - b)
    return last[Math.floor(last.length * 0.99)] ?? 0
  }
}

test('a frozen replica is out within one check, its reads are answered by others, and it comes back', async t => {
  const opened = await open(t)
  const [, r2] = cluster.replicas
  const load = new Load(t, opened, 12, 0)
  await sleep(400)
  const usualMs = load.lastP99Ms(500)
  r2.freeze()
  const frozenMs = performance.now()
  await until('r2 is out', () => serverOf(opened, 'r2').state !== 'up')
  const outMs = performance.now() - frozenMs
  const before = load.readMs.length
  await until('reads go on', () => load.readMs.length > before + 600)
  const p99Ms = load.lastP99Ms(500)
  r2.thaw()
  await until('r2 is back', () => serverOf(opened, 'r2').state === 'up')
  await load.stop()
  t.diagnostic(
    `out after ${outMs.toFixed(0)} ms; p99 ${usualMs.toFixed(1)} ms, then ${p99Ms.toFixed(1)} ms`,
  )
  t.diagnostic(
    `longest gap ${load.longestReadGapMs.toFixed(0)} ms, slowest ${Math.max(...load.readMs).toFixed(0)} ms`,
  )
  assert.deepEqual([load.readErrors, load.wrong], [[], []])
  assert(p99Ms < usualMs * 5 + 50, `${p99Ms} ms after ${usualMs} ms`)
  assert(load.longestReadGapMs < 1_000)
})

test('a replica that is killed costs no read, and serves again once it is back', async t => {
  const opened = await open(t)
  const [, r2] = cluster.replicas
  const load = new Load(t, opened, 12, 0)
  await sleep(200)
  await r2.kill()
  await until('r2 is down', () => serverOf(opened, 'r2').state === 'down')
  await r2.restart()
  await until('r2 is back', () => serverOf(opened, 'r2').state === 'up')
  await load.stop()
  assert.deepEqual([load.readErrors, load.wrong], [[], []])
  assert(load.longestReadGapMs < 1_000)
})

test('a primary that restarts is waited for, whatever the engine may do', async t => {
  const opened = await open(t, { failover: 'promote' })
  await cluster.primary.restart()
  await until('writes flow', async () => {
    try {
      await opened.query('insert into written values (0, 0) on conflict do nothing')
      return true
    } catch {
      return false
    }
  })
  const { failovers, servers } = opened.database.stats()
  assert.equal(failovers, 0)
  assert.equal(servers!.find(({ role }) => role === 'primary')?.name, 'url')
})

test('a primary that only the engine cannot reach is not replaced: its replicas still receive from it', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-cut-'))
  const { socketDir, port } = cluster.primary.server
  const sockets = new Set<net.Socket>()
  const way = net.createServer(client => {
    const server = net.connect(join(socketDir, `.s.PGSQL.${port}`))
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      sockets.add(one)
      one.on('error', () => other.destroy()).on('close', () => other.destroy())
      one.pipe(other)
    }
  })
  await new Promise<void>(resolve => way.listen(join(folder, '.s.PGSQL.5432'), resolve))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const cut = () => {
    way.close()
    for (const socket of sockets) socket.destroy()
  }
  t.after(cut)
  const url = `postgresql://postgres@/postgres?host=${encodeURIComponent(folder)}&port=5432`
  const opened = await open(t, { failover: 'promote' }, url)
  cut()
  await until('it is said why', () => {
    const { problem = '' } = opened.database.stats()
    return /no failover: replica r[12] still receives from the primary/.test(problem)
  })
  const { source } = await opened.query('select name from homes where id = $1', [3])
  assert.match(source, /^replica:/)
  assert.equal(opened.database.stats().failovers, 0)
})

test('a primary that is killed under load is replaced: nothing acknowledged is lost, the old one is fenced', async t => {
  const opened = await open(t, { failover: 'promote' })
  await cluster.primary.value(`alter system set synchronous_standby_names = 'any 1 (r1, r2)'`)
  await cluster.primary.value('select pg_reload_conf()')
  await until('commits wait for a replica', async () => {
    const quorum = `select count(*) from pg_stat_replication where sync_state = 'quorum'`
    return (await cluster.primary.value(quorum)) === '2'
  })
  const heard: string[] = []
  const gaps: string[] = []
  const listening = Promise.withResolvers<void>()
  opened.database.listener.subscribe('news', {
    listening: () => listening.resolve(),
    notified: payload => heard.push(payload),
    gap: why => gaps.push(why),
    failed: listening.reject,
  })
  await listening.promise
  const load = new Load(t, opened, 12, 12)
  await sleep(600)
  await cluster.primary.kill()
  const killedMs = performance.now()
  await until('another one is the primary', () => opened.database.stats().failovers === 1)
  const promotedMs = performance.now() - killedMs
  const count = load.acknowledged.length
  await until('writes flow', () => load.acknowledged.length > count + 100)
  await load.stop()
  t.diagnostic(
    `promoted after ${promotedMs.toFixed(0)} ms; longest gap of writes ${load.longestWriteGapMs.toFixed(0)} ms, of reads ${load.longestReadGapMs.toFixed(0)} ms`,
  )
  t.diagnostic(
    `${load.acknowledged.length} writes; ${load.writeErrors.length} refused, ${load.readErrors.length} reads refused: ${load.readErrors[0]} ${load.writeErrors[0]}`,
  )
  assert.deepEqual(load.wrong, [])
  assert(load.longestWriteGapMs < 10_000, `no write for ${load.longestWriteGapMs} ms`)
  assert(load.longestReadGapMs < 1_000, `no read for ${load.longestReadGapMs} ms`)

  const { name } = opened.database.stats().servers!.find(({ role }) => role === 'primary')!
  const primary = cluster.replicas.find(replica => replica.name === name)!
  const { rows } = await (await primary.admin()).query('select client, n from written')
  const found = new Set(rows.map(([client, n]) => `${client} ${n}`))
  const lost = load.acknowledged.filter(([client, n]) => !found.has(`${client} ${n}`))
  assert.deepEqual(lost, [])

  await until('who listens is told of the gap', () => gaps.length > 0)
  await primary.value(`select pg_notify('news', 'from the new one')`)
  await until('who listens hears the new primary', () => heard[0] === 'from the new one')

  await until('the others follow', async () => {
    const others = cluster.replicas.filter(replica => replica !== primary)
    const streaming = await Promise.all(
      others.map(replica => replica.value('select received_tli from pg_stat_wal_receiver')),
    )
    return streaming.every(timeline => timeline === '2')
  })
  await fencesTheOldPrimary(opened)
  await leavesAStrayAlone(opened)
})

async function fencesTheOldPrimary(opened: TestDatabase): Promise<void> {
  await cluster.primary.restart()
  assert.equal(await cluster.primary.value('select pg_is_in_recovery()'), 'f')
  await until('it is fenced', () => serverOf(opened, 'url').state === 'fenced')
  await opened.query('insert into written values (-1, 1)')
  for (let i = 0; i < 20; i++) await opened.query('select n from written where client = -1')
  assert.equal(await cluster.primary.value('select count(*) from written where client = -1'), '0')
  const { advice, reason } = serverOf(opened, 'url')
  assert.match(reason ?? '', /an old primary, on timeline 1 of 2/)
  assert.match(advice ?? '', /pg_rewind --target-pgdata/)
}

/** Somebody makes it a standby without rewinding it: what it has beyond the promotion is nobody's. */
async function leavesAStrayAlone(opened: TestDatabase): Promise<void> {
  await cluster.primary.becomeStandby()
  await until('it is a standby', () => {
    const { state, role } = serverOf(opened, 'url')
    return state === 'up' && role === 'replica'
  })
  const problem = () => opened.database.stats().problem ?? ''
  await until('it is said that it is astray', () => /url: .*timeline 1 of 2/.test(problem()))
  const sql = 'select n from written where client = $1 and n = $2'
  for (let i = 0; i < 60; i++) {
    const { rows, source } = await opened.query(sql, [-1, 1], 0, i)
    assert.equal(rows.length, 1, source)
    assert.notEqual(source, 'replica:url')
  }
}

test('a promotion that somebody else does is followed', async t => {
  const opened = await open(t)
  const { name } = opened.database.stats().servers!.find(({ role }) => role === 'primary')!
  assert.notEqual(name, 'url', 'roles are discovered at the start too')
  const primary = cluster.replicas.find(replica => replica.name === name)!
  const other = cluster.replicas.find(
    replica => replica !== primary && replica.name !== 'r3',
  ) as ClusterServer
  await primary.kill()
  await other.value('select pg_promote()')
  await until('writes go there', async () => {
    const { source } = await opened
      .query('insert into written values (-2, 1) on conflict do nothing')
      .catch(() => ({ source: '' }))
    return source === 'primary'
  })
  assert.equal(await other.value('select count(*) from written where client = -2'), '1')
  assert.equal(serverOf(opened, other.name).role, 'primary')
})
