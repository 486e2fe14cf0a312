/** 20: bells that one thread hangs up and others ring, through closings and the ends of threads.
 *  Owns:   the bells it opens, worker threads.   Thread: main; the ringers are workers.
 *  Holds:  every bell is closed at the end of its test: a process has so many and no more. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { loadDoorbells } from '../native-bindings/doorbell.ts'
import { FULL, randomTest } from './helpers/random.ts'

const { open, ring, close } = loadDoorbells()
const MODULE = join(import.meta.dirname, '../native-bindings/doorbell.ts')
const PRELUDE = `
  const { parentPort, workerData } = require('node:worker_threads')
  const { loadDoorbells } = require(${JSON.stringify(MODULE)})
  const { open, ring, close } = loadDoorbells()\n`
const OPEN_COUNT_MAX = 256

function thread(script: string, workerData?: unknown): Worker {
  return new Worker(PRELUDE + script, { eval: true, workerData })
}

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 2_000 && !condition(); i++) await sleep(1)
  assert.ok(condition(), what)
}

describe('a bell', () => {
  test('rung by another thread calls back in the thread that hung it up', async () => {
    let calls = 0
    const bell = open(() => calls++)
    const ringer = thread('parentPort.postMessage(ring(workerData))', bell)
    const [isHeard] = await once(ringer, 'message')
    assert.equal(isHeard, true)
    await until(() => calls === 1, 'called back')
    close(bell)
  })

  test('rung a thousand times before the loop comes round calls back, and not a thousand times', async () => {
    let calls = 0
    const bell = open(() => calls++)
    for (let i = 0; i < 1_000; i++) assert.ok(ring(bell))
    assert.equal(calls, 0, 'from the event loop, not from ring()')
    await until(() => calls > 0, 'called back')
    await sleep(10)
    assert.equal(calls, 1)
    close(bell)
  })

  test('rung in its own callback calls back again', async () => {
    let calls = 0
    const bell = open(() => {
      if (++calls < 5) ring(bell)
    })
    ring(bell)
    await until(() => calls === 5, 'five times')
    close(bell)
  })

  test('runs promise reactions and process.nextTick() before the loop goes on', async () => {
    const order: string[] = []
    const bell = open(() => {
      setImmediate(() => order.push('immediate'))
      process.nextTick(() => order.push('tick'))
      void Promise.resolve().then(() => order.push('reaction'))
      order.push('callback')
    })
    ring(bell)
    await until(() => order.length === 4, 'all four')
    assert.deepEqual(order, ['callback', 'tick', 'reaction', 'immediate'])
    close(bell)
  })

  test('that was rung and closed does not call back', async () => {
    const bell = open(() => assert.fail('called after its close'))
    ring(bell)
    close(bell)
    assert.equal(ring(bell), false)
    await sleep(10)
  })

  test('can be closed in its callback, and twice', async () => {
    let calls = 0
    const bell = open(() => {
      calls++
      close(bell)
      close(bell)
    })
    ring(bell)
    await until(() => calls === 1, 'called back')
    assert.equal(ring(bell), false)
  })

  test('is not closed by another thread', async () => {
    let calls = 0
    const bell = open(() => calls++)
    await once(thread('close(workerData)', bell), 'exit')
    assert.ok(ring(bell))
    await until(() => calls === 1, 'called back')
    close(bell)
  })

  test('ends with its thread, and its number is not given to another', async () => {
    const owner = thread('parentPort.postMessage(open(() => {})); setTimeout(() => {}, 10)')
    const exit = once(owner, 'exit')
    const [bell] = (await once(owner, 'message')) as [number]
    await exit
    assert.equal(ring(bell), false)
    let calls = 0
    const heir = open(() => calls++)
    assert.equal(heir % OPEN_COUNT_MAX, bell % OPEN_COUNT_MAX, 'the place is taken again')
    assert.equal(ring(bell), false)
    await sleep(5)
    assert.equal(calls, 0)
    close(heir)
  })

  test('whose callback throws is an uncaught exception of its own thread', async () => {
    const owner = thread(
      "const bell = open(() => { throw new Error('from a bell') }); ring(bell); setTimeout(() => {}, 5_000)",
    )
    const [error] = await once(owner, 'error')
    assert.equal(error.message, 'from a bell')
  })

  test('does not keep a process alive, nor does one that was rung', async () => {
    for (const then of ['', 'ring(bell)']) {
      const child = execFile(process.execPath, [
        '-e',
        `${PRELUDE}const bell = open(() => {}); ${then}`,
      ])
      const [code] = await once(child, 'exit')
      assert.equal(code, 0)
    }
  })
})

test('a number that is no open bell is not rung', () => {
  for (const number of [0, -1, 1, 255, 256, 2 ** 31 - 1]) assert.equal(ring(number), false)
})

test(`no more than ${OPEN_COUNT_MAX} are open, and a closed one makes room`, () => {
  const bells = Array.from({ length: OPEN_COUNT_MAX }, () => open(() => {}))
  assert.equal(new Set(bells).size, OPEN_COUNT_MAX)
  assert.ok(bells.every(bell => bell > 0))
  assert.equal(
    open(() => {}),
    0,
  )
  close(bells[100]!)
  const last = open(() => {})
  assert.ok(last > 0 && last !== bells[100])
  for (const bell of [...bells, last]) close(bell)
})

// The ringer holds numbers of threads that are at every stage of their end.
const ROUNDS = FULL ? 400 : 20
randomTest(`${ROUNDS} threads are ended while main rings their bells`, {}, async random => {
  const ringing = new Set<number>()
  const numbers = new Int32Array(new SharedArrayBuffer(16))
  const ringer = thread(
    `const numbers = new Int32Array(workerData)
    const go = () => { for (let i = 0; i < 2_000; i++) ring(Atomics.load(numbers, i % 4)); setImmediate(go) }
    go()`,
    numbers.buffer,
  )
  for (let i = 0; i < ROUNDS; i++) {
    const owner = thread(
      `let calls = 0
      const bells = [0, 1, 2, 3].map(() => open(() => { if (++calls % 100 === 0) { close(bells[0]); bells[0] = open(() => {}) } }))
      parentPort.postMessage(bells)
      setInterval(() => {}, 1_000)`,
    )
    const [bells] = (await once(owner, 'message')) as [number[]]
    for (const bell of bells) ringing.add(bell)
    numbers.set(bells)
    const endMs = performance.now() + random.below(10)
    while (performance.now() < endMs) for (const bell of ringing) ring(bell)
    const ended = owner.terminate()
    for (let n = 0; n < 200; n++) for (const bell of bells) ring(bell)
    await ended
    for (const bell of bells) assert.equal(ring(bell), false)
  }
  await ringer.terminate()
  const all = Array.from({ length: OPEN_COUNT_MAX }, () => open(() => {}))
  assert.ok(
    all.every(bell => bell > 0),
    'every place was given back',
  )
  for (const bell of all) close(bell)
})
