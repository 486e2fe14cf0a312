/** Feed: asks the engine every two seconds, while somebody looks.
 *  Owns:   the timer, the history, what was told last.   Not here: showing it (page.ts).
 *  Thread: a browser's.
 *  Holds:  (1) one round of questions at a time.  (2) nothing is asked while the tab is hidden or the reader has paused; what the
 *          engine sampled meanwhile comes with the next round.  (3) what an engine may be without is asked for only if it lists it. */

import type { Health, MetricsJson, SeriesJson } from '../../../figures.ts'
import { type AlertRow, alertsOf, type SlowRow, slowOf } from '../../view/extras.ts'
import { History } from '../../view/history.ts'
import { type Overview, overviewOf } from '../../view/overview.ts'
import { monotonicMs } from './clock.ts'

const EVERY_MS = 2_000
const ANSWER_MS_MAX = 5_000
const EXTRAS_EVERY_MS = 10_000
/** So many answers without a new sample: the engine's clock was put back. */
const STALE_COUNT_MAX = 5

export interface Look {
  readonly history: History
  readonly overview: Overview
  /** Undefined: this engine has none of it. */
  readonly alerts: AlertRow[] | undefined
  readonly slow: SlowRow[] | undefined
}

/** What is asked for besides, and may be missing. */
class Extra<Row> {
  rows: Row[] | undefined
  private nextMs = 0
  private readonly path: string
  private readonly rowsOf: (answer: unknown) => Row[] | undefined

  constructor(path: string, rowsOf: (answer: unknown) => Row[] | undefined) {
    this.path = path
    this.rowsOf = rowsOf
  }

  /** `paths`: those that the engine answers. */
  async ask(paths: readonly string[]): Promise<void> {
    if (!paths.includes(this.path)) {
      this.rows = undefined
      return
    }
    if (monotonicMs() < this.nextMs) return
    this.nextMs = monotonicMs() + EXTRAS_EVERY_MS
    this.rows = this.rowsOf(await json(this.path))
  }
}

export class Feed {
  private readonly history = new History()
  private readonly alerts = new Extra('/alerts', alertsOf)
  private readonly slow = new Extra('/insight/slow', slowOf)
  private readonly onLook: (look: Look) => void
  private readonly onLost: () => void
  private timer: ReturnType<typeof setInterval> | undefined
  /** What this engine answers; undefined: to be asked, also after it was gone. */
  private paths: string[] | undefined
  private isAsking = false
  private isPaused = false
  private staleCount = 0

  constructor(onLook: (look: Look) => void, onLost: () => void) {
    this.onLook = onLook
    this.onLost = onLost
    document.addEventListener('visibilitychange', () => this.startOrStop())
    this.startOrStop()
  }

  pause(isPaused: boolean): void {
    this.isPaused = isPaused
    this.startOrStop()
  }

  private startOrStop(): void {
    clearInterval(this.timer)
    if (this.isPaused || document.hidden) return
    this.timer = setInterval(() => void this.look(), EVERY_MS)
    void this.look()
  }

  private async look(): Promise<void> {
    if (this.isAsking) return
    this.isAsking = true
    try {
      const paths = (this.paths ??= await json<string[]>('/page/paths'))
      const [series, metrics, health] = await Promise.all([
        json<SeriesJson>(`/series?since=${this.history.lastAtMs}`),
        json<MetricsJson>('/metrics/json'),
        json<Health>('/health'),
        this.alerts.ask(paths),
        this.slow.ask(paths),
      ])
      this.take(series)
      if (this.isPaused) return
      const { rows: alerts } = this.alerts
      const { rows: slow } = this.slow
      this.onLook({ history: this.history, overview: overviewOf(metrics, health), alerts, slow })
    } catch (error) {
      // Only the network may fail: anything else is a fault of this page, and is to be seen.
      if (!(error instanceof NoAnswer)) throw error
      this.paths = undefined
      if (!this.isPaused) this.onLost()
    } finally {
      this.isAsking = false
    }
  }

  private take(series: SeriesJson): void {
    this.staleCount = this.history.add(series) ? 0 : this.staleCount + 1
    if (this.staleCount > STALE_COUNT_MAX) this.history.clear()
  }
}

class NoAnswer extends Error {}

/** A health of 503 has a body too. */
async function json<T>(path: string): Promise<T> {
  try {
    const signal = AbortSignal.timeout(ANSWER_MS_MAX)
    const response = await fetch(path, { cache: 'no-store', signal })
    return (await response.json()) as T
  } catch (cause) {
    throw new NoAnswer(`${path} was not answered`, { cause })
  }
}
