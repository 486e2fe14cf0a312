/** flood: one client asks for all an engine can give, and more, while ten others work at their pace.
 *  Owns:   one engine, with a database.   Thread: main of a bench or of a test.
 *  Holds:  (1) the same ten are measured without a flood too, so that a busy machine shows.  (2) the median of several runs is
 *          held against a bound. */

import { median, pause, percentile, Stand } from '../macro/stand.ts'
import { atMost, type Fault, type FireSize, holds, Role, type Seen, shown, told } from './parts.ts'

const SIZES = { short: { runs: 1, ms: 400 }, real: { runs: 5, ms: 6_000 } } as const
const PER_SECOND = 100_000
/** More than any engine answers: what the socket takes is what is sent. */
const WITHOUT_END = 10_000_000
const OTHERS = { clients: 10, everyMs: 10, sql: true }
const P99_MS_MAX = 5
/** In a test, on whatever machine: the wider of these. */
const SHORT_P99_MS_MAX = 250
const SHORT_TIMES_MAX = 10

export const flood: Fault = {
  name: 'flood',
  done: `one client sends ${shown(PER_SECOND)} requests/s (gets, sets, selects, lists of keys), then as many as the socket takes; ten others send 100/s each`,
  async run(size) {
    const stand = new Stand({ postgres: true })
    try {
      await stand.start()
      return await measure(stand.socket, size)
    } finally {
      await stand.stop()
    }
  },
}

interface Steady {
  readonly tookMs: number[]
  readonly errors: Record<string, number>
}

interface Flooded {
  readonly perSecond: number
  readonly errors: number
}

async function measure(socket: string, size: FireSize): Promise<Seen[]> {
  const { runs, ms } = SIZES[size]
  const rounds = [
    { perSecond: 0, p99s: [] as number[], answered: [] as number[] },
    { perSecond: PER_SECOND, p99s: [] as number[], answered: [] as number[] },
    { perSecond: WITHOUT_END, p99s: [] as number[], answered: [] as number[] },
  ]
  let failed = 0
  for (let run = 0; run < runs; run++) {
    for (const { perSecond, p99s, answered } of rounds) {
      const flooding = await Role.start<Flooded>('flood', socket, { perSecond, sql: true })
      const working = await Role.start<Steady>('steady', socket, OTHERS)
      await pause(ms)
      const { tookMs, errors } = await working.end()
      p99s.push(percentile(Float64Array.from(tookMs), 0.99))
      const flooded = await flooding.end()
      answered.push(flooded.perSecond)
      failed += Object.values(errors).reduce((sum, count) => sum + count, flooded.errors)
    }
  }
  const [without, flooded, endless] = rounds
  const boundMs =
    size === 'real'
      ? P99_MS_MAX
      : Math.max(SHORT_P99_MS_MAX, SHORT_TIMES_MAX * median(without!.p99s))
  return [
    told("the others' p99 without a flood", `${shown(median(without!.p99s))} ms`),
    told('of the flood, answered', `${shown(median(flooded!.answered))} requests/s`),
    atMost("the others' p99 beside it", median(flooded!.p99s), boundMs, 'ms'),
    told('of a flood without end, answered', `${shown(median(endless!.answered))} requests/s`),
    told("the others' p99 beside that", `${shown(median(endless!.p99s))} ms`),
    holds('nobody met an error', failed === 0, `${failed} errors`),
  ]
}
