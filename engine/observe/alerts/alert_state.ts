/** alert_state: one alert of one subject, from ok to firing and back.
 *  Owns:   its state and when it began.   Not here: what is measured (measures.ts), who is told (alerts.ts).
 *  Thread: main.
 *  Holds:  (1) it fires once it was beyond the threshold for `forMs` without a break, and ends once it was beyond `clear` for
 *          clearForMs: between the two nothing changes.  (2) NaN changes nothing.  (3) time is what the caller says it is.
 *
 *            beyond the threshold           for forMs
 *    ok ───────────────────────▶ pending ──────────────▶ firing ◀──────────────┐ not beyond clear
 *     ▲ ▲                           │                       │ beyond clear     │
 *     │ └────── no longer ──────────┘                       ▼                  │
 *     └───────────────────── for clearForMs ──────────── clearing ─────────────┘ */

export interface Bounds {
  readonly when: 'above' | 'below'
  readonly threshold: number
  readonly clear: number
  readonly forMs: number
}

export type AlertState = 'ok' | 'pending' | 'firing' | 'clearing'

const CLEAR_MS_MIN = 60_000
const CLEAR_MS_MAX = 300_000

export class StateOfAlert {
  state: AlertState = 'ok'
  /** When it was first beyond the threshold. */
  sinceMs = 0
  /** The newest that was known. */
  value = Number.NaN
  seenMs = 0
  private clearSinceMs = 0

  /** Takes a value; tells what has just begun or ended. */
  take(value: number, bounds: Bounds, nowMs: number): 'fires' | 'resolved' | undefined {
    this.seenMs = nowMs
    if (Number.isNaN(value)) return undefined
    this.value = value
    if (this.state === 'ok' || this.state === 'pending') return this.takeQuiet(value, bounds, nowMs)
    return this.takeFiring(value, bounds, nowMs)
  }

  /** As it was before a restart. */
  restore(sinceMs: number, value: number, nowMs: number): void {
    this.state = 'firing'
    this.sinceMs = sinceMs
    this.value = value
    this.seenMs = nowMs
  }

  get isFiring(): boolean {
    return this.state === 'firing' || this.state === 'clearing'
  }

  private takeQuiet(value: number, bounds: Bounds, nowMs: number): 'fires' | undefined {
    if (!isBeyond(value, bounds)) {
      this.state = 'ok'
      return undefined
    }
    if (this.state === 'ok') {
      this.state = 'pending'
      this.sinceMs = nowMs
    }
    if (nowMs - this.sinceMs < bounds.forMs) return undefined
    this.state = 'firing'
    return 'fires'
  }

  private takeFiring(value: number, bounds: Bounds, nowMs: number): 'resolved' | undefined {
    if (!isClear(value, bounds)) {
      this.state = 'firing'
      return undefined
    }
    if (this.state === 'firing') {
      this.state = 'clearing'
      this.clearSinceMs = nowMs
    }
    if (nowMs - this.clearSinceMs < clearForMs(bounds)) return undefined
    this.state = 'ok'
    return 'resolved'
  }
}

/** As long as it had to last to fire, within bounds: what comes and goes is one alert. */
export function clearForMs({ forMs }: Bounds): number {
  return Math.min(CLEAR_MS_MAX, Math.max(CLEAR_MS_MIN, forMs))
}

function isBeyond(value: number, { when, threshold }: Bounds): boolean {
  return when === 'above' ? value > threshold : value < threshold
}

/** Where `clear` is the threshold itself, not to be beyond it is enough. */
function isClear(value: number, { when, clear }: Bounds): boolean {
  return when === 'above' ? value <= clear : value >= clear
}
