/** `kill -9` at random moments under every kind of write: nothing acknowledged is lost, nothing ended comes back, the file is whole and
 *  the next start is a matter of moments.
 *  Owns:   one engine, killed and started again and again.   Not here: what may be found of a key (helpers/crash_load.ts).
 *  Thread: main of a test process.
 *  Holds:  what was acknowledged is compared; what was on its way at the kill may be there or not.
 *  Runs:   beside others, since no figure of it is near its bound. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { connect, type Hearth } from '../engine/client/index.ts'
import { CrashLedger, CrashStream } from './helpers/crash_load.ts'
import { type ServedEngine, serve } from './helpers/engine.ts'
import { FULL, type Random, randomTest } from './helpers/random.ts'

const ROUNDS = FULL ? 200 : 5
const STREAMS = 12
/** Each start after a kill, from the process's birth to its first answer. The long run wants an idle
 *  machine; the short one shares it with anybody. */
const START_MS_MAX = FULL ? 1_000 : 5_000
/** Tier 1 holds half of the keys: the others are read from the file. */
const ENTRIES_MAX = '120'
/** SQLite's own verdict is asked for after each so many kills. */
const VERDICT_ROUNDS = FULL ? 10 : 2

class Streams {
  readonly ledger = new CrashLedger()
  private readonly all = Array.from({ length: STREAMS }, (_, i) => new CrashStream(i, this.ledger))

  /** Load until the engine is killed, at some moment. */
  async untilKilled(engine: ServedEngine, random: Random): Promise<void> {
    const options = { socket: engine.socket, failOpen: false, timeoutMs: 2_000 }
    const client = await connect(options)
    const reader = await connect(options)
    assert.ok(reader.inPlace.isOn, 'the test reads in place')
    const running = this.all.map(each => each.run(client, reader, this.all, random.fork()))
    await Promise.race([sleep(random.between(1, 500)), Promise.all(running)])
    for (const each of this.all) each.isOver = true
    await engine.kill()
    for (const each of this.all) each.checkNothingInPlace(reader)
    await client.close()
    await reader.close()
    await Promise.all(running)
  }

  async check(client: Hearth): Promise<void> {
    for (const each of this.all) await each.check(client)
  }
}

/** SQLite's own verdict on the file, as the killed engine left it. */
function verdictOn(file: string): unknown {
  const database = new Database(file)
  try {
    return database.pragma('integrity_check', { simple: true })
  } finally {
    database.close()
  }
}

randomTest(
  `${ROUNDS} kills under mixed load lose nothing that was acknowledged and bring back nothing that was ended`,
  { timeout: FULL ? 1_200_000 : 60_000 },
  async random => {
    const endings: (() => Promise<void>)[] = []
    const env = { HEARTH_MEMORY_MAX_ENTRIES: ENTRIES_MAX, HEARTH_SQLITE_FLUSH_INTERVAL: '100ms' }
    const engine = await serve({ after: end => endings.push(end) }, env)
    const streams = new Streams()
    const startsMs: number[] = []
    try {
      for (let round = 0; round < ROUNDS; round++) {
        await streams.untilKilled(engine, random)
        // Not each time: it recovers the log, which otherwise is left to the next start.
        if (round % VERDICT_ROUNDS === 0) assert.equal(verdictOn(engine.sqliteFile), 'ok')
        await engine.start()
        startsMs.push(engine.readyMs)
        const client = await engine.connect()
        await streams.check(client)
        await client.close()
        assert.doesNotMatch(engine.log(), /set aside|damaged/)
      }
    } finally {
      for (const end of endings) await end()
    }
    report(streams.ledger, startsMs)
    assert.ok(streams.ledger.total > ROUNDS * 100, 'there was load')
    assert.ok(streams.ledger.peekHits > ROUNDS * 100, 'and reading in place')
    assert.ok(Math.max(...startsMs) < START_MS_MAX, `one start took ${Math.max(...startsMs)} ms`)
  },
)

function report({ acknowledged, peekHits }: CrashLedger, startsMs: readonly number[]): void {
  const counts = [...acknowledged].map(([what, count]) => `${count} ${what}`).join(', ')
  const sorted = startsMs.toSorted((a, b) => a - b)
  const median = sorted[sorted.length >> 1]!.toFixed(0)
  console.log(
    `# ${ROUNDS} kills; acknowledged: ${counts}; ${peekHits} values read in place; ` +
      `ready again after ${median} ms in the median, ${sorted.at(-1)!.toFixed(0)} ms at worst`,
  )
}

test('a kill while it starts or stops costs nothing either', async t => {
  const engine = await serve(t)
  const client = await engine.connect()
  await client.cache.setMany(
    Array.from({ length: 500 }, (_, i) => ({ key: `k${i}`, value: i, ttlMs: 0 })),
  )
  await client.close()
  for (const waitMs of [0, 2, 5, 10]) {
    engine.signal('SIGTERM')
    await sleep(waitMs)
    await engine.kill()
    engine.spawn()
    await sleep(30 + waitMs * 8)
    await engine.kill()
    await engine.start()
  }
  const found = await (await engine.connect()).cache.getMany(
    Array.from({ length: 500 }, (_, i) => `k${i}`),
  )
  assert.deepEqual(
    found,
    Array.from({ length: 500 }, (_, i) => i),
  )
})
