/** cost_load: sets at a steady rate from a thread of their own, so that the thread that measures gets has no part in them.
 *  Owns:   the thread and its client.
 *  Thread: main of the bench starts it; the rest is the load's own.
 *  Holds:  a set is never sent while IN_FLIGHT_MAX are unanswered: what cannot keep up sends less, and says how much it was. */

import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { connect } from '../../engine/client/index.ts'
import { VALUE } from './stand.ts'

const IN_FLIGHT_MAX = 200

interface LoadData {
  readonly socket: string
  /** 0: as fast as they are answered. */
  readonly perSecond: number
}

export class Load {
  private readonly thread: Worker

  constructor(data: LoadData) {
    this.thread = new Worker(new URL(import.meta.url), { workerData: data })
  }

  /** Resolves once sets are being answered. */
  started(): Promise<unknown> {
    return this.said()
  }

  /** Ends it; resolves with the sets it had answered a second. */
  async stop(): Promise<number> {
    const said = this.said()
    this.thread.postMessage('stop')
    const perSecond = (await said) as number
    await this.thread.terminate()
    return perSecond
  }

  private said(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.thread.once('message', resolve)
      this.thread.once('error', reject)
    })
  }
}

async function load({ socket, perSecond }: LoadData): Promise<void> {
  const { cache } = await connect({ socket, failOpen: false, sharedMemory: false })
  let sent = 0
  let answered = 0
  let isOver = false
  parentPort!.once('message', () => {
    isOver = true
  })
  const set = async (): Promise<void> => {
    await cache.set(`load:${sent++}`, VALUE, { ttlMs: 0 })
    answered++
  }
  await set()
  parentPort!.postMessage('started')
  const startMs = performance.now()
  if (perSecond === 0) {
    const loop = async (): Promise<void> => {
      while (!isOver) await set()
    }
    await Promise.all(Array.from({ length: IN_FLIGHT_MAX }, loop))
  }
  while (!isOver) {
    const due = ((performance.now() - startMs) / 1_000) * perSecond
    while (sent < due && sent - answered < IN_FLIGHT_MAX) void set()
    await new Promise(resolve => setTimeout(resolve, 1))
  }
  const ranMs = performance.now() - startMs
  parentPort!.postMessage((answered / ranMs) * 1_000)
}

if (!isMainThread && parentPort !== null) void load(workerData as LoadData)
