/** insight: what recording every statement costs: two engines on one Postgres, one of which records, by turns.
 *  Owns:   both engines.   Thread: main of the bench, which is also the client under load.
 *  Holds:  a pair of rounds is one measurement, and pairs change who is first: a slow minute of the machine meets both. */

import type { Hearth } from '../../engine/client/index.ts'
import { median, Stand, throughput } from './stand.ts'

const ROWS = 10_000
const DEPTH = 100
const POINT_SELECT = 'select * from insight_bench where id = $1'

export interface InsightCost {
  /** 0 to 1: of the throughput of point selects, the dearest case there is; the median of all pairs. */
  readonly lostShare: number
  /** The same of the engine's CPU time, over all rounds: what it uses more for each statement. */
  readonly cpuShare: number
  readonly offPerSecond: number
}

export async function measureInsight(pairs = 31, queries = 20_000): Promise<InsightCost> {
  const off = new Stand({ postgres: true, env: { HEARTH_INSIGHT_ENABLED: 'false' } })
  let on: Stand | undefined
  try {
    await off.start()
    on = new Stand({ env: { HEARTH_POSTGRES_URL: off.postgresUrl! } })
    await on.start()
    const clients = { off: await off.client(), on: await on.client() }
    await clients.off.db.query('create table insight_bench (id int primary key, name text)')
    await clients.off.db.query(
      "insert into insight_bench select n, 'row ' || n from generate_series(1, $1::int) n",
      [ROWS],
    )
    const round = (client: Hearth) =>
      throughput(queries, DEPTH, i => client.db.query(POINT_SELECT, [1 + (i % ROWS)]))
    for (const client of Object.values(clients)) await round(client)
    const ratios: number[] = []
    const found: number[] = []
    const cpuBeforeMs = [off.engineCpuMs(), on.engineCpuMs()] as const
    for (let pair = 0; pair < pairs; pair++) {
      const first = pair % 2 === 0 ? 'off' : 'on'
      const one = await round(clients[first])
      const two = await round(clients[first === 'off' ? 'on' : 'off'])
      const [offRate, onRate] = first === 'off' ? [one, two] : [two, one]
      ratios.push(onRate / offRate)
      found.push(offRate)
    }
    const offCpuMs = off.engineCpuMs() - cpuBeforeMs[0]
    const cpuShare = (on.engineCpuMs() - cpuBeforeMs[1]) / offCpuMs - 1
    return { lostShare: 1 - median(ratios), cpuShare, offPerSecond: median(found) }
  } finally {
    await on?.stop()
    await off.stop()
  }
}
