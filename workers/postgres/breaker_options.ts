/** breaker_options: what is configured of breakers and of asking again, and what holds without.
 *  Owns:   the defaults.   Thread: any.   Holds: the defaults are those of the configuration (config/schema.ts). */

import type { BreakerSettings } from '../../engine/breaker/breaker.ts'
import type { RetrySettings } from './retry.ts'

export type BreakerOptions = BreakerSettings & RetrySettings

export const BREAKER_DEFAULTS: BreakerOptions = {
  failures: 5,
  failureRate: 0.5,
  minCalls: 20,
  windowMs: 60_000,
  openMs: 30_000,
  successes: 2,
  retries: 3,
  backoffMs: 1_000,
}
