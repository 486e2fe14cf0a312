/** The parts of a cluster that need no server: floors, lag, which replica is chosen, CPU, addresses, how many must acknowledge.
 *  Owns:   nothing.   Thread: main of a test process. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { addressOf, withAddress } from '../workers/postgres/servers/conninfo.ts'
import { Cpu } from '../workers/postgres/servers/cpu.ts'
import { acknowledgersOf } from '../workers/postgres/servers/failover.ts'
import { ServerChoice } from '../workers/postgres/servers/server_choice.ts'
import { WalHistory } from '../workers/postgres/servers/wal_history.ts'
import { CLIENT_COUNT_MAX, WriteFloors } from '../workers/postgres/servers/write_floors.ts'

describe('a client’s floor', () => {
  const known = () => {
    const floors = new WriteFloors()
    assert.equal(floors.of(1), Infinity, 'nothing is known at first')
    floors.asking()
    floors.answered(100)
    return floors
  }

  test('is Infinity from its write until the primary was asked after it', () => {
    const floors = known()
    assert.equal(floors.of(1), 100)
    floors.wrote(1)
    assert.deepEqual([floors.of(1), floors.of(2), floors.isWanted], [Infinity, 100, true])
    floors.asking()
    floors.wrote(3) // behind the question
    floors.answered(200)
    assert.deepEqual([floors.of(1), floors.of(2), floors.of(3)], [200, 100, Infinity])
    floors.asking()
    floors.wrote(3)
    floors.answered(300)
    assert.equal(floors.of(3), Infinity, 'it has written again')
    floors.asking()
    floors.failed()
    assert(floors.isWanted)
    floors.asking()
    floors.answered(400)
    assert.deepEqual([floors.of(1), floors.of(3), floors.isWanted], [200, 400, false])
  })

  test('is beyond writes of which nobody said whose they are', () => {
    const floors = known()
    floors.wrote(0)
    assert.deepEqual([floors.of(1), floors.of(2)], [Infinity, Infinity])
    floors.asking()
    floors.answered(150)
    assert.deepEqual([floors.of(1), floors.of(2)], [150, 150])
  })

  test('when forgotten is that of everybody who was', () => {
    const floors = known()
    floors.wrote(1)
    floors.asking()
    floors.answered(500)
    for (let client = 2; client <= CLIENT_COUNT_MAX + 1; client++) floors.wrote(client)
    assert.deepEqual([floors.of(1), floors.of(-1)], [500, 500])
    floors.wrote(CLIENT_COUNT_MAX + 2) // the oldest is one whose position nobody knows
    assert.equal(floors.of(2), Infinity)
    assert.equal(floors.of(-1), Infinity)
    floors.asking()
    floors.wrote(CLIENT_COUNT_MAX + 3) // forgets another one, behind the question
    floors.answered(600)
    assert.equal(floors.of(3), Infinity)
    floors.asking()
    floors.answered(700)
    assert.deepEqual([floors.of(2), floors.of(3), floors.of(CLIENT_COUNT_MAX + 3)], [700, 700, 700])
  })
})

test('lag is how long ago the primary first had what the replica has not', () => {
  const history = new WalHistory()
  assert.equal(history.lagMs(0, 1_000), 0, 'nothing is known')
  history.note(10, 1_000)
  history.note(10, 50_000) // idle
  assert.equal(history.lagMs(10, 90_000), 0)
  history.note(20, 90_000)
  history.note(30, 91_000)
  assert.equal(history.lagMs(10, 93_000), 3_000)
  assert.equal(history.lagMs(20, 93_000), 2_000)
  assert.equal(history.lagMs(29, 93_000), 2_000)
  assert.equal(history.lagMs(30, 93_000), 0)
  for (let i = 1; i <= 1_000; i++) history.note(30 + i, 91_000 + i * 100)
  assert.equal(history.lagMs(1_030, 191_000), 0)
  assert.equal(history.lagMs(1_020, 191_000), 900)
  assert(history.lagMs(10, 191_000) >= 101_000, 'the far past is coarse, and never too little')
})

test('of the fit replicas the quicker, the idler, the heavier is chosen; one that is unfit or behind never', () => {
  const nowMs = 1_000_000
  const usual = {
    ...{ state: 'up', isStandby: true, isAstray: false, lagMs: 0, seen: { lsn: 10 } },
    ...{ open: 2, latencyMs: 4, lastEndMs: nowMs, weight: 1, cpu: { share: 0.5 } },
    admission: { admits: () => true },
  }
  const choice = new ServerChoice(5_000)
  const shares = (others: Record<string, object>, floor = 0) => {
    const all = Object.entries({ a: {}, b: {}, ...others })
    const candidates = all.map(([name, own]) => ({ server: { ...usual, name, ...own } as never }))
    const counts: Record<string, number> = {}
    for (let i = 0; i < 300; i++) {
      const name = choice.replica(candidates, floor, nowMs, undefined)?.name ?? 'none'
      counts[name] = (counts[name] ?? 0) + 1
    }
    return counts
  }
  const usualShare = shares({ c: {} })['c']!
  assert(usualShare > 50 && usualShare < 150, `${usualShare} of 300`)
  for (const better of [{ latencyMs: 2 }, { open: 1 }, { weight: 2 }])
    assert(shares({ c: better })['c']! > 150, JSON.stringify(better))
  for (const worse of [
    ...[{ latencyMs: 40 }, { open: 20 }, { weight: 0.2 }, { cpu: { share: 0.8 } }],
    { lastEndMs: nowMs - 300 }, // silent, with something open
    ...[{ state: 'suspect' }, { isStandby: false }, { isAstray: true }, { lagMs: 5_001 }],
    ...[{ seen: { lsn: 9 } }, { admission: { admits: () => false } }],
  ])
    assert.equal(shares({ c: worse }, 10)['c'], undefined, JSON.stringify(worse))
  assert.deepEqual(shares({}, 11), { none: 300 })
  assert(choice.isBehind)
})

test('how busy a host is, is told by what its kernel counted between two looks', () => {
  const cpu = new Cpu()
  //               user nice system idle iowait irq softirq steal
  cpu.note('cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 100', 1_000)
  assert.equal(cpu.share, undefined, 'one count tells nothing')
  cpu.note('cpu  180 0 110 810 0 0 0 0 0 0\n', 2_000)
  assert.equal(cpu.share, 0.9)
  cpu.note('cpu  180 0 110 910 0 0 0 0 0 0\n', 2_100)
  assert.equal(cpu.share, 0.9, 'too soon')
  cpu.note('cpu  180 0 110 860 50 0 0 0 0 0\n', 3_000)
  assert.equal(cpu.share, 0)
  cpu.note('', 4_000)
  assert.equal(cpu.share, undefined)
})

test('host and port are found in both forms of a connection string, and replaced in a keyword one', () => {
  const cases: [string, string, number][] = [
    ['postgres://u:p%40@db.local:5433/home?sslmode=require', 'db.local', 5433],
    ['postgresql://postgres@/postgres?host=%2Frun%2Fpg&port=5440', '/run/pg', 5440],
    ['postgres://[::1]:5433/x', '::1', 5433],
    ['postgres://a,b:1/x', 'a', 5432],
    ['postgres:///x', '', 5432],
    [`host=/run/pg port = 5441 user=x`, '/run/pg', 5441],
    [`host='/run/a b' dbname=x`, '/run/a b', 5432],
  ]
  for (const [url, host, port] of cases) assert.deepEqual(addressOf(url), { host, port }, url)
  assert.equal(
    withAddress(`host=/old port=1 hostaddr=1.2.3.4 user=r password='a b' sslmode=require`, {
      host: '/new place',
      port: 2,
    }),
    `host='/new place' port=2 user=r password='a b' sslmode=require`,
  )
})

test('how many standbys must have a write is read from synchronous_standby_names', () => {
  const cases: Record<string, number> = {
    '': 0,
    '*': 1,
    'r1, r2': 1,
    '2 (r1, r2, r3)': 2,
    'FIRST 1 (r1)': 1,
    'any 2 (r1, r2, "r 3")': 2,
  }
  for (const [text, count] of Object.entries(cases))
    assert.equal(acknowledgersOf(text), count, text)
})
