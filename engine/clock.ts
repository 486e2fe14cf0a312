/** Clocks: wall time for what is stored, monotonic time for what is measured or waited for.
 *  Owns:   nothing.   Thread: any.   Holds: no other file calls Date.now() or performance.now(). */

/** Milliseconds since 1970: expiry times are kept in it, since they outlive the process. */
export function wallMs(): number {
  return Date.now()
}

/** Milliseconds on the machine's own clock that never jumps: the same in all processes until the machine starts anew. */
export function bootMs(): number {
  return BOOT_OFFSET_MS + performance.now()
}

const [seconds, nanoseconds] = process.hrtime()
const BOOT_OFFSET_MS = seconds * 1_000 + nanoseconds / 1e6 - performance.now()

/** Milliseconds on a clock that never jumps, for deadlines and durations. Its zero means nothing. */
export function monotonicMs(): number {
  return performance.now()
}

/** Microseconds on CLOCK_MONOTONIC, whose zero other processes of this host share. */
export function monotonicUsec(): bigint {
  return process.hrtime.bigint() / 1_000n
}
