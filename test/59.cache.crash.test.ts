/** `kill -9` and a full disk, under tags, patterns, sums and conditions: what was acknowledged holds, what was ended stays ended.
 *  Owns:   one engine, killed and started again; a small memory disk where this process may mount one.
 *  Thread: main of a test process.
 *  Holds:  what was on its way at the kill may have happened or not, once. */

import assert from 'node:assert/strict'
import { appendFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type Hearth, type HearthError } from '../engine/client/index.ts'
import { prepare, type ServedEngine, serve } from './helpers/engine.ts'
import { FULL, type Random, randomTest } from './helpers/random.ts'
import { smallDisk } from './helpers/sqlite.ts'

const ROUNDS = FULL ? 50 : 6
const STREAMS = 12

/** One stream's own keys, tag and counter: what it knows of them for certain. */
class Stream {
  private readonly name: string
  private alive = new Map<string, number>()
  private gone = new Set<string>()
  private sum = 0
  private isSumSure = true
  private version = 0
  acknowledged = 0

  constructor(number: number) {
    this.name = `s${number}`
  }

  /** Works until the engine is gone. */
  async run(client: Hearth, random: Random): Promise<void> {
    const { cache } = client
    for (let step = 0; ; step++) {
      const key = `${this.name}:${random.below(20)}`
      const action = random.below(10)
      try {
        if (action < 5) {
          const wasAlive = this.forget(key)
          await cache.set(key, step, { ttlMs: 0, tags: [this.name] })
          this.alive.set(key, step)
          this.gone.delete(key)
          this.acknowledged += wasAlive ? 1 : 1
        } else if (action < 7) {
          this.isSumSure = false
          this.sum = (await cache.increment(`${this.name}!sum`, 1, { ttlMs: 0 }))!
          this.isSumSure = true
        } else if (action < 8) {
          const found = await cache.lookup(`${this.name}!sum`)
          if (found !== undefined) {
            assert.ok(found.version >= this.version, 'versions grow')
            this.version = found.version
          }
        } else {
          const before = [...this.alive.keys()]
          this.alive.clear() // Until it is acknowledged they may be there or not.
          const isByTag = action < 9
          const count = isByTag
            ? await cache.invalidateTags([this.name])
            : await cache.invalidatePattern(`${this.name}:*`)
          assert.ok(count >= before.length, `${count} of ${before.length} went`)
          for (let i = 0; i < 20; i++) this.gone.add(`${this.name}:${i}`)
        }
      } catch (error) {
        assert.match(
          String((error as HearthError).code),
          /UNAVAILABLE|TIMEOUT|CLOSED/,
          String(error),
        )
        return
      }
    }
  }

  async check(client: Hearth): Promise<void> {
    const names = Array.from({ length: 20 }, (_, i) => `${this.name}:${i}`)
    const found = await client.cache.getMany<number>(names)
    for (const [i, key] of names.entries()) {
      if (this.alive.has(key)) assert.equal(found[i], this.alive.get(key), key)
      else if (this.gone.has(key)) assert.equal(found[i], undefined, `${key} came back`)
    }
    const sum = (await client.cache.get<number>(`${this.name}!sum`)) ?? 0
    if (this.isSumSure) assert.equal(sum, this.sum)
    else assert.ok(sum === this.sum || sum === this.sum + 1, `${sum} after ${this.sum}`)
    const known = await client.cache.lookup(`${this.name}!sum`)
    if (known !== undefined) assert.ok(known.version >= this.version, 'no version twice')
    this.sum = sum
    this.isSumSure = true
    // What was on its way is known again.
    this.gone.clear()
    this.alive.clear()
    for (const [i, key] of names.entries()) {
      if (found[i] === undefined) this.gone.add(key)
      else this.alive.set(key, found[i])
    }
  }

  private forget(key: string): boolean {
    this.gone.delete(key)
    return this.alive.delete(key)
  }
}

randomTest(
  `${ROUNDS} kills bring back nothing that was invalidated, and lose nothing that was acknowledged`,
  { timeout: 600_000 },
  async random => {
    const endings: (() => Promise<void>)[] = []
    const engine = await serve(
      { after: end => endings.push(end) },
      { HEARTH_MEMORY_MAX_ENTRIES: '60' },
    )
    const streams = Array.from({ length: STREAMS }, (_, i) => new Stream(i))
    try {
      for (let round = 0; round < ROUNDS; round++) {
        const client = await connect({ socket: engine.socket, failOpen: false, timeoutMs: 2_000 })
        const running = streams.map(stream => stream.run(client, random.fork()))
        await sleep(random.between(20, 300))
        await engine.kill()
        await client.close()
        await Promise.all(running)
        await engine.start()
        const again = await engine.connect()
        for (const stream of streams) await stream.check(again)
        await again.close()
      }
      const sets = streams.reduce((sum, { acknowledged }) => sum + acknowledged, 0)
      console.log(`# ${ROUNDS} kills, ${sets} sets acknowledged`)
      assert.ok(sets > ROUNDS * 20)
    } finally {
      for (const end of endings) await end()
    }
  },
)

const disk = smallDisk(3 << 20)

test('on a full disk an invalidation fails, its entries are a miss, and it is finished when there is room', {
  skip: disk === undefined ? 'mounting a tmpfs needs root: run as root to see this' : false,
}, async t => {
  const engine = prepare(t, { HEARTH_ENGINE_STATE_DIR: join(disk!, 'state') })
  await engine.start()
  const hearth = await engine.connect()
  const { cache } = hearth
  const long = Buffer.alloc(70_000)
  await cache.set('tagged', long, { tags: ['t'], ttlMs: 0 })
  await cache.set('pattern:1', long, { ttlMs: 0 })
  await cache.set('kept', long, { ttlMs: 0 })
  const filler = join(disk!, 'filler')
  fill(filler)
  await untilFails(engine, hearth)
  await assert.rejects(cache.invalidateTags(['t']), { code: 'UNAVAILABLE' })
  await assert.rejects(cache.invalidatePattern('pattern:*'), { code: 'UNAVAILABLE' })
  assert.equal(await cache.get('tagged'), undefined)
  assert.equal(await cache.get('pattern:1'), undefined)
  rmSync(filler)
  await sleep(1_500)
  assert.equal(await cache.get('tagged'), undefined)
  assert.equal(await cache.get('pattern:1'), undefined)
  await engine.kill()
  await engine.start()
  const again = await engine.connect()
  assert.equal(await again.cache.get('tagged'), undefined, 'it was finished before the kill')
  assert.equal(await again.cache.get('pattern:1'), undefined)
  assert.equal((await again.health()).status, 'ok')
})

function fill(file: string): void {
  for (let bytes = 1 << 20; bytes >= 512; bytes >>= 1) {
    try {
      for (;;) appendFileSync(file, Buffer.alloc(bytes))
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC')
    }
  }
}

/** What the log has room for is used up. */
async function untilFails(_engine: ServedEngine, { cache }: Hearth): Promise<void> {
  for (let i = 0; i < 200; i++) {
    try {
      await cache.set(`more:${i}`, Buffer.alloc(60_000))
    } catch (error) {
      assert.equal((error as HearthError).code, 'UNAVAILABLE')
      return
    }
  }
  assert.fail('the disk never filled')
}
