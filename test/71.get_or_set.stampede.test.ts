/** Many processes miss one key at once: one factory runs on the host, and one more for each holder that is lost.
 *  Owns:   the child processes, ended with their test.   Thread: main of a test process.
 *  Runs:   beside others, since no figure of it is near its bound. */

import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { serve } from './helpers/engine.ts'

const PROCESSES = 4
const CLIENTS = 200
const FILE = new URL('./helpers/stampede.ts', import.meta.url).pathname
const WAIT_MS_MAX = 20_000

interface Message {
  readonly kind: 'ready' | 'runs' | 'values'
  readonly values?: readonly unknown[]
}

/** Processes that have connected and wait for the word. */
class Herd {
  /** Who ran the factory, in order. */
  readonly runs: ChildProcess[] = []
  readonly values: unknown[] = []
  private readonly children: ChildProcess[] = []
  private readyCount = 0
  private answeredCount = 0

  static async gather(t: TestContext, socket: string, key: string, factoryMs: number) {
    const herd = new Herd()
    t.after(() => {
      for (const child of herd.children) child.kill('SIGKILL')
    })
    for (let i = 0; i < PROCESSES; i++) {
      const child = fork(FILE, [socket, key, String(CLIENTS / PROCESSES), String(factoryMs)])
      herd.children.push(child)
      child.on('message', (message: Message) => herd.take(child, message))
    }
    await herd.until(() => herd.readyCount === PROCESSES)
    return herd
  }

  go(): void {
    for (const child of this.children) child.send('go')
  }

  async untilRuns(count: number): Promise<void> {
    await this.until(() => this.runs.length >= count)
  }

  async untilAnswered(processes: number): Promise<void> {
    await this.until(() => this.answeredCount === processes)
  }

  private take(child: ChildProcess, { kind, values }: Message): void {
    if (kind === 'ready') this.readyCount++
    else if (kind === 'runs') this.runs.push(child)
    else {
      this.answeredCount++
      this.values.push(...values!)
    }
  }

  private async until(isDone: () => boolean): Promise<void> {
    for (const endMs = performance.now() + WAIT_MS_MAX; !isDone(); await sleep(5))
      assert.ok(performance.now() < endMs, 'it took too long')
  }
}

test(`${CLIENTS} clients in ${PROCESSES} processes miss one key: the factory runs once`, async t => {
  const engine = await serve(t)
  const herd = await Herd.gather(t, engine.socket, 'herd', 300)
  herd.go()
  await herd.untilAnswered(PROCESSES)
  assert.equal(herd.runs.length, 1)
  assert.deepEqual(herd.values, new Array(CLIENTS).fill(`from ${herd.runs[0]!.pid}`))
})

test('a holder that is killed is replaced by exactly one other', async t => {
  const engine = await serve(t)
  const herd = await Herd.gather(t, engine.socket, 'herd', 700)
  herd.go()
  await herd.untilRuns(1)
  await sleep(50)
  herd.runs[0]!.kill('SIGKILL')
  await herd.untilAnswered(PROCESSES - 1)
  assert.equal(herd.runs.length, 2)
  const left = CLIENTS - CLIENTS / PROCESSES
  assert.deepEqual(herd.values, new Array(left).fill(`from ${herd.runs[1]!.pid}`))
})

test('an engine that is killed in the middle costs no caller its value', async t => {
  const engine = await serve(t)
  const herd = await Herd.gather(t, engine.socket, 'herd', 400)
  herd.go()
  await herd.untilRuns(1)
  await engine.kill()
  await engine.start()
  await herd.untilAnswered(PROCESSES)
  assert.equal(herd.values.length, CLIENTS)
  for (const value of herd.values) assert.match(String(value), /^from \d+$/)
})
