/** clock: a browser's clocks; the engine's own (engine/clock.ts) are Node's.
 *  Owns:   nothing.   Thread: a browser's.   Holds: no other file of the page calls Date.now() or performance.now(). */

/** Milliseconds since 1970. */
export function wallMs(): number {
  return Date.now()
}

/** Milliseconds on a clock that never jumps. */
export function monotonicMs(): number {
  return performance.now()
}
