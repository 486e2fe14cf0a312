/** A subscriber in a process of its own: says what it gets, and is deaf for as long as it is told to be.
 *  Owns:   its client.   Thread: main of a child process, started by startSubscriber().
 *  Holds:  what it has got is told on request, in order. */

import { type ChildProcess, fork } from 'node:child_process'
import type { TestContext } from 'node:test'
import { connect } from '../../engine/client/index.ts'

export interface Got {
  readonly count: number
  /** The sum of all gaps that said how many. */
  readonly lost: number
  readonly gaps: readonly string[]
  /** Messages were numbers, each higher than the one before. */
  readonly isInOrder: boolean
  readonly last: unknown
}

export interface SubscriberProcess {
  readonly child: ChildProcess
  /** Reads nothing from its socket for so long. */
  deafen(ms: number): void
  got(): Promise<Got>
  /** Waits until it has got or lost so many. */
  until(count: number, timeoutMs?: number): Promise<Got>
}

/** Starts one; resolves once its subscription is confirmed. */
export async function startSubscriber(
  t: TestContext,
  socket: string,
  glob: string,
): Promise<SubscriberProcess> {
  const child = fork(import.meta.filename, [socket, glob], { execArgv: [] })
  t.after(() => void child.kill('SIGKILL'))
  const next = () => new Promise<unknown>(resolve => child.once('message', resolve))
  await next()
  const got = async (): Promise<Got> => {
    child.send('got')
    return (await next()) as Got
  }
  return {
    child,
    deafen: ms => void child.send(ms),
    got,
    until: async (count, timeoutMs = 15_000) => {
      const endMs = performance.now() + timeoutMs
      for (;;) {
        const now = await got()
        if (now.count + now.lost >= count || performance.now() > endMs) return now
        await new Promise(resolve => setTimeout(resolve, 20))
      }
    },
  }
}

async function main(socket: string, glob: string): Promise<void> {
  const hearth = await connect({ socket, failOpen: false })
  const gaps: string[] = []
  let count = 0
  let lost = 0
  let last: unknown = -1
  let isInOrder = true
  const subscription = await hearth.subscribe<{ n: number }>(glob, message => {
    count++
    if (message.n <= (last as number)) isInOrder = false
    last = message.n
  })
  subscription.on('gap', gap => {
    lost += gap.lost ?? 0
    gaps.push(gap.reason)
  })
  process.on('message', command => {
    if (command === 'got') process.send!({ count, lost, gaps, isInOrder, last })
    else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, command as number)
  })
  process.on('disconnect', () => process.exit())
  process.send!('ready')
}

if (process.argv[1] === import.meta.filename) await main(process.argv[2]!, process.argv[3]!)
