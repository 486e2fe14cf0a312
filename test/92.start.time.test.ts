/** The start: how long it takes with a full cache, and that nobody is let in before it is over.
 *  Owns:   one engine a test.   Thread: main of a test process. */

import assert from 'node:assert/strict'
import net from 'node:net'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { prepare, serve } from './helpers/engine.ts'
import { RawClient } from './helpers/frames.ts'
import { gateTest } from './helpers/gate.ts'

const ENTRIES = 10_000
const STARTS = 5
/** The aim is 500 ms on an idle machine; tests share theirs. */
const READY_MS_MAX = 2_000

test(`from nothing to ready with ${ENTRIES} entries on disk`, async t => {
  const engine = await serve(t, { HEARTH_SQLITE_MAX_BYTES: '32MiB' })
  const client = await engine.connect({ timeoutMs: 30_000 })
  const value = 'x'.repeat(700)
  for (let at = 0; at < ENTRIES; at += 1_000) {
    await client.cache.setMany(
      Array.from({ length: 1_000 }, (_, i) => ({ key: `k${at + i}`, value, ttlMs: 0 })),
    )
  }
  await client.close()
  const times: number[] = []
  for (let i = 0; i < STARTS; i++) {
    // Both ways to end: a tidy one, and one that leaves a log to recover.
    await engine.stop(i % 2 === 0 ? 'SIGTERM' : 'SIGKILL')
    await engine.start()
    times.push(engine.readyMs)
  }
  times.sort((a, b) => a - b)
  console.log(`# ready after ${times.map(ms => ms.toFixed(0)).join(', ')} ms`)
  assert.ok(times[0]! < READY_MS_MAX, `the best of ${STARTS} took ${times[0]} ms`)
  const again = await engine.connect()
  assert.equal(await again.cache.get(`k${ENTRIES - 1}`), value)
})

gateTest(
  'whoever gets a connection at all is answered at once: the socket opens when the engine is ready',
  async (t, gate) => {
    const engine = prepare(t)
    engine.spawn()
    let refused = 0
    for (;;) {
      const socket = net.connect(engine.socket)
      const isOpen = await new Promise<boolean>(resolve => {
        socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
      })
      socket.destroy()
      if (isOpen) break
      refused++
      assert.ok(refused < 10_000)
      await sleep(1)
    }
    assert.ok(refused > 0, 'it was not open from the start')
    const startMs = performance.now()
    const client = await RawClient.open(engine.socket)
    await client.hello()
    const waitedMs = performance.now() - startMs
    gate('the greeting came', waitedMs, 250)
    await engine.untilLogged('"ready"')
  },
)
