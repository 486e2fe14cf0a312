/** postgres: the database is not there for the whole run, then comes.
 *  Owns:   one engine and one server.   Thread: main of a bench or of a test.
 *  Holds:  the cache's speed is compared with that of the same engine a moment later, when the database is there. */

import type { Hearth, HearthError } from '../../engine/client/index.ts'
import type { EmbeddedPostgres } from '../../engine/dev/embedded_postgres.ts'
import { median, pause, Stand, throughput } from '../macro/stand.ts'
import {
  atMost,
  type Fault,
  type FireSize,
  grown,
  holds,
  processorShare,
  type Seen,
  settledBytes,
  shown,
  told,
  untilTrue,
} from './parts.ts'

/** A read is tried three times, and waits 3 s for a connection each time. */
const FIRST_MS_MAX = 13_000
/** Mostly at once, since the breaker is open; a trial waits for a connection. */
const REFUSED_MS_MAX = 4_000
const BACK_MS_MAX = 20_000
/** Of the short run: a statement is not tried again, so the breaker is open soon. */
const IMPATIENT = {
  HEARTH_BREAKER_RETRIES: '0',
  HEARTH_POSTGRES_MAIN_POOL_ACQUIRE_TIMEOUT: '200ms',
}

export const postgresGone: Fault = {
  name: 'Postgres gone for the whole run',
  done: 'the server is down from before the engine starts; the cache works, statements are tried; then it comes',
  async run(size) {
    const stand = new Stand({ postgres: true, isQuiet: true })
    try {
      await stand.start()
      await stand.stopEngine()
      await stand.postgres!.stop()
      if (size === 'short') Object.assign(stand.env, IMPATIENT)
      await stand.start()
      return await measure(stand, stand.postgres!, size)
    } finally {
      await stand.stop()
    }
  },
}

async function measure(stand: Stand, server: EmbeddedPostgres, size: FireSize): Promise<Seen[]> {
  const ms = size === 'short' ? 600 : 60_000
  const client = await stand.client({ sharedMemory: false, timeoutMs: 30_000 })
  // What the first refusals load once is no growth.
  const first = new Refusals(client)
  await first.during(300)
  const refusals = new Refusals(client)
  const before = await settledBytes(() => stand.engineBytes(), size)
  const sampled: number[] = []
  const endMs = performance.now() + ms
  const asking = refusals.during(ms)
  while (performance.now() < endMs) sampled.push(await gets(client))
  await asking
  const after = await settledBytes(() => stand.engineBytes(), size)
  const idle = await processorShare(stand.enginePid, size === 'short' ? 500 : 10_000)
  const health = await client.health()
  await server.restart()
  const backMs = await untilTrue(() => answers(client), BACK_MS_MAX)
  const with_: number[] = []
  for (let i = 0; i < 5; i++) with_.push(await gets(client))
  const share = median(sampled) / median(with_)
  return [
    told('gets meanwhile', `${shown(median(sampled))}/s`),
    {
      what: 'of those with the database there',
      figure: `${shown(share * 100)} %`,
      bound: '≥ 50 %',
      isHeld: share >= 0.5 || size === 'short',
    },
    told(
      'statements refused',
      `${shown(refusals.count)}, half of them within ${shown(refusals.medianMs)} ms`,
    ),
    atMost('the first, before the breaker is open', first.slowestMs, FIRST_MS_MAX, 'ms'),
    atMost('the slowest of the others', refusals.slowestMs, REFUSED_MS_MAX, 'ms'),
    holds(
      'refused with a code',
      refusals.codes.size > 0 && !refusals.codes.has('undefined'),
      [...refusals.codes].join(', '),
    ),
    holds('none was answered', refusals.answered === 0),
    holds('health says so', health.status === 'degraded', health.status),
    grown('memory after, above before', after - before, 3, size),
    atMost('processor while idle', idle * 100, 10, '%'),
    atMost('works once it is there', backMs, BACK_MS_MAX, 'ms'),
  ]
}

/** Statements that cannot be answered, ten at a time with a pause. */
class Refusals {
  answered = 0
  readonly codes = new Set<string>()
  private readonly tookMs: number[] = []
  private readonly client: Hearth

  constructor(client: Hearth) {
    this.client = client
  }

  get count(): number {
    return this.tookMs.length
  }

  get medianMs(): number {
    return median(this.tookMs)
  }

  get slowestMs(): number {
    return Math.max(...this.tookMs)
  }

  async during(ms: number): Promise<void> {
    const endMs = performance.now() + ms
    const lane = async () => {
      while (performance.now() < endMs) {
        const startMs = performance.now()
        try {
          await this.client.db.query('select 1')
          this.answered++
        } catch (error) {
          this.codes.add(String((error as HearthError).code))
        }
        this.tookMs.push(performance.now() - startMs)
        await pause(20)
      }
    }
    await Promise.all(Array.from({ length: 10 }, lane))
  }
}

async function gets({ cache }: Hearth): Promise<number> {
  return await throughput(2_000, 50, i => cache.get(`device:${i % 100}`))
}

async function answers({ db }: Hearth): Promise<boolean> {
  try {
    await db.query('select 1')
    return true
  } catch {
    return false
  }
}
