/** `kill -9` at random moments while sets and deletes are acknowledged: none is lost, none comes back, the file is whole.
 *  Owns:   one engine, killed and started again and again.   Thread: main of a test process.
 *  Holds:  what was acknowledged is compared; what was on its way at the kill may be there or not. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { connect, type HearthError } from '../engine/client/index.ts'
import { type ServedEngine, serve } from './helpers/engine.ts'
import { FULL, type Random, randomTest } from './helpers/random.ts'

const ROUNDS = FULL ? 50 : 8
const STREAMS = 30
const KEYS_PER_STREAM = 10

/** What is known of a key: its acknowledged value, that it was deleted, or both outcomes of what was on its way. */
type Known = { readonly value: string | undefined; readonly maybe?: { value: string | undefined } }

class Ledger {
  readonly known = new Map<string, Known>()
  acknowledged = 0

  begun(key: string, value: string | undefined): void {
    this.known.set(key, { value: this.known.get(key)?.value, maybe: { value } })
  }

  done(key: string, value: string | undefined): void {
    this.known.set(key, { value })
    this.acknowledged++
  }

  check(key: string, found: unknown): void {
    const { value, maybe } = this.known.get(key)!
    if (found === value || (maybe !== undefined && found === maybe.value)) {
      this.known.set(key, { value: found as string | undefined })
      return
    }
    assert.fail(
      `${key} is ${String(found).slice(0, 40)}, acknowledged was ${String(value).slice(0, 40)}`,
    )
  }
}

async function round(
  engine: ServedEngine,
  ledger: Ledger,
  random: Random,
  number: number,
): Promise<void> {
  const client = await connect({ socket: engine.socket, failOpen: false, timeoutMs: 2_000 })
  let isOver = false
  const streams = Array.from({ length: STREAMS }, async (_, stream) => {
    for (let step = 0; !isOver; step++) {
      const key = `${stream}:${step % KEYS_PER_STREAM}`
      const deletes = random.chance(0.2)
      const value = deletes
        ? undefined
        : `${number}:${step}:${'x'.repeat(random.pick([5, 200, 5_000]))}`
      ledger.begun(key, value)
      try {
        if (deletes) await client.cache.delete(key)
        else await client.cache.set(key, value, { ttlMs: 0 })
        ledger.done(key, value)
      } catch (error) {
        assert.match((error as HearthError).code, /UNAVAILABLE|TIMEOUT|CLOSED/)
        return
      }
    }
  })
  await sleep(random.between(1, 250))
  await engine.kill()
  isOver = true
  await client.close()
  await Promise.all(streams)
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
  `${ROUNDS} kills lose nothing that was acknowledged`,
  { timeout: 600_000 },
  async random => {
    const endings: (() => Promise<void>)[] = []
    const engine = await serve({ after: end => endings.push(end) })
    const ledger = new Ledger()
    try {
      for (let number = 0; number < ROUNDS; number++) {
        await round(engine, ledger, random, number)
        if (number % 2 === 0) assert.equal(verdictOn(engine.sqliteFile), 'ok')
        await engine.start()
        const client = await engine.connect()
        const keys = [...ledger.known.keys()]
        const found = await client.cache.getMany(keys)
        for (const [i, key] of keys.entries()) ledger.check(key, found[i])
        assert.doesNotMatch(engine.log(), /set aside|damaged/)
        await client.close()
      }
      console.log(`# ${ROUNDS} kills, ${ledger.acknowledged} writes acknowledged`)
      assert.ok(ledger.acknowledged > ROUNDS * 100)
    } finally {
      for (const end of endings) await end()
    }
  },
)

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
