/** workers: a worker thread of the engine that ships is killed again and again, under load.
 *  Owns:   one engine, with a database and a hook that ends its newest worker at SIGUSR2.   Thread: main of a bench or of a test.
 *  Holds:  a write counts as acknowledged when it was answered; what it stored must be there at the end. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { HearthError } from '../../engine/client/index.ts'
import { pause, Stand } from '../macro/stand.ts'
import {
  atMost,
  type Fault,
  type FireSize,
  grown,
  holds,
  Role,
  type Seen,
  settledBytes,
  shown,
  told,
} from './parts.ts'

const SIZES = { short: { kills: 6, everyMs: 250 }, real: { kills: 60, everyMs: 1_000 } } as const
const LANES = 20
const KEPT_EACH = 50
/** Tier 1 and SQLite's cache are full at the real size: what they take is no growth. */
const FILLED = { short: 0, real: 60_000 } as const
/** The engine's patience with a worker that is away is less. */
const ANSWER_MS_MAX = 5_000

/** Nothing in the engine ends a worker from outside: this is loaded before it. */
const HOOK = `
const threads = require('node:worker_threads')
if (threads.isMainThread) {
  const alive = new Set()
  const { Worker } = threads
  threads.Worker = class extends Worker {
    constructor(...args) {
      super(...args)
      alive.add(this)
      this.once('exit', () => alive.delete(this))
    }
  }
  process.on('SIGUSR2', () => [...alive].at(-1)?.terminate())
}
`

export const workerKilled: Fault = {
  name: 'worker killed',
  done: 'the worker thread is ended once a second for a minute, while clients set, get and select',
  async run(size) {
    const stand = new Stand({
      postgres: size === 'real',
      isQuiet: process.env['FIRE_LOUD'] === undefined,
    })
    try {
      const hook = join(stand.folder, 'hook.cjs')
      writeFileSync(hook, HOOK)
      stand.env['NODE_OPTIONS'] = `--require=${hook}`
      await stand.start()
      return await measure(stand, size)
    } finally {
      await stand.stop()
    }
  },
}

async function measure(stand: Stand, size: FireSize): Promise<Seen[]> {
  const { kills, everyMs } = SIZES[size]
  const client = await stand.client({ sharedMemory: false, timeoutMs: 30_000 })
  const kill = () => process.kill(stand.enginePid, 'SIGUSR2')
  for (let at = 0; at < FILLED[size]; at += 1_000)
    await Promise.all(Array.from({ length: 1_000 }, (_, i) => client.cache.set(`${at + i}`, at)))
  // The first death loads what each later one needs too.
  kill()
  await pause(700)
  const before = await settledBytes(() => stand.engineBytes(), size)
  const acknowledged = new Map<string, number>()
  const codes = new Map<string, number>()
  let isOver = false
  let asked = 0
  let slowestMs = 0
  const lanes = Array.from({ length: LANES }, async (_, lane) => {
    for (let step = 0; !isOver; step++) {
      // Some are written once and looked for in the end: of the others a later set may have an unknown outcome.
      const isKept = step % KEPT_EACH === 0
      const key = isKept ? `kept:${lane}:${step}` : `${lane}:${step % 50}`
      const startMs = performance.now()
      asked++
      try {
        await client.cache.set(key, step, { ttlMs: 0 })
        if (isKept) acknowledged.set(key, step)
      } catch (error) {
        const { code } = error as HearthError
        codes.set(code, (codes.get(code) ?? 0) + 1)
        await pause(5)
      }
      slowestMs = Math.max(slowestMs, performance.now() - startMs)
    }
  })
  const others = await Role.start<{ tookMs: number[]; errors: Record<string, number> }>(
    'steady',
    stand.socket,
    { clients: 5, everyMs: 10, sql: size === 'real' },
  )
  for (let done = 0; done < kills; done++) {
    kill()
    await pause(everyMs)
  }
  isOver = true
  await Promise.all(lanes)
  const { tookMs, errors } = await others.end()
  for (const [code, count] of Object.entries(errors))
    codes.set(code, (codes.get(code) ?? 0) + count)
  await pause(1_000)
  let lost = 0
  for (const [key, step] of acknowledged) if ((await client.cache.get(key)) !== step) lost++
  const { workers } = await client.stats()
  const restarts = workers.reduce((sum, worker) => sum + worker.restarts, 0)
  const after = await settledBytes(() => stand.engineBytes(), size)
  const told_ = [...codes].map(([code, count]) => `${shown(count)} ${code}`).join(', ')
  return [
    holds('the worker was replaced', restarts > 0, `${restarts} times`),
    told('requests, of them refused', `${shown(asked + tookMs.length)}, ${told_ || 'none'}`),
    holds(
      'refused with a code that says so',
      [...codes.keys()].every(code => ['UNAVAILABLE', 'POOL_EXHAUSTED'].includes(code)),
    ),
    atMost('the longest wait', Math.max(slowestMs, tookMs.at(-1) ?? 0), ANSWER_MS_MAX, 'ms'),
    holds('acknowledged writes kept', lost === 0, `${lost} of ${shown(acknowledged.size)} lost`),
    grown('memory after, above before', after - before, 4, size),
  ]
}
