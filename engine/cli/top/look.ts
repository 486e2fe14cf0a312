/** look: what `hearth top` asks the engine for, each time.
 *  Owns:   the history.   Not here: what is shown of it (blocks.ts), how often (live.ts).
 *  Thread: main.
 *  Holds:  what this engine may be without, alerts and slow statements, is undefined then, and no failure. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth } from '../../client/index.ts'
import { type AlertRow, alertsOf, type SlowRow, slowOf } from '../../observe/view/extras.ts'
import { History } from '../../observe/view/history.ts'
import { type Overview, overviewOf } from '../../observe/view/overview.ts'

const POLL_MS = 250
/** Rates are of what came between two samples, and the engine takes none before somebody looks. */
const SAMPLES_MS_MAX = 6_000

export interface Look {
  readonly history: History
  readonly overview: Overview
  readonly alerts: AlertRow[] | undefined
  readonly slow: SlowRow[] | undefined
}

/** What a client may have besides, by the version of its engine. */
interface Extras {
  alerts?: () => Promise<unknown>
  insight?: { slow(): Promise<unknown> }
}

export class Looker {
  readonly history = new History()
  private readonly hearth: Hearth

  constructor(hearth: Hearth) {
    this.hearth = hearth
  }

  /** Rejects with UNAVAILABLE while the engine is gone. */
  async look(): Promise<Look> {
    const { hearth, history } = this
    const extras = hearth as unknown as Extras
    const [series, metrics, health, alerts, slow] = await Promise.all([
      hearth.series(history.lastAtMs),
      hearth.metrics(),
      hearth.health(),
      typeof extras.alerts === 'function' ? orNothing(extras.alerts.bind(hearth)) : undefined,
      extras.insight && orNothing(() => extras.insight!.slow()),
    ])
    history.add(series)
    return {
      history,
      overview: overviewOf(metrics, health),
      alerts: alertsOf(alerts),
      slow: slowOf(slow),
    }
  }

  /** The first look that has rates, or whatever there is after a while. */
  async lookWithRates(): Promise<Look> {
    for (let tookMs = 0; ; tookMs += POLL_MS) {
      const look = await this.look()
      if (look.history.latest('requestsPerSecond') !== null || tookMs >= SAMPLES_MS_MAX) return look
      await sleep(POLL_MS)
    }
  }
}

/** An engine without it answers with an error; that the engine is gone the other questions tell. */
async function orNothing(ask: () => Promise<unknown>): Promise<unknown> {
  try {
    return await ask()
  } catch {
    return undefined
  }
}
