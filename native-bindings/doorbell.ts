/** doorbell: bells in an event loop that other threads of the process ring by their numbers, typed.
 *  Owns:   nothing; a bell belongs to the thread that opened it, and ends with it at the latest.
 *  Thread: any; each opens and closes its own, and rings those of others.
 *  Holds:  what src/doorbell.h says; a file of its own, so that a worker loads this and not all of index.ts. */
import load from './load.cjs'

export interface Doorbells {
  /** A bell whose rings call back from this thread's event loop; several rings may be one call. Does not keep the thread alive.
   *  Returns its number, above 0, which is never used again; 0 when 256 are open in the process. */
  open(callback: () => void): number
  /** Rings a bell of any thread; false when it is closed. */
  ring(number: number): boolean
  /** Closes one of this thread's bells; another thread's number does nothing. */
  close(number: number): void
}

/** Throws when the binding is not built. */
export function loadDoorbells(): Doorbells {
  const native = load.loadNative(import.meta.dirname)
  return { open: native.doorbellOpen, ring: native.doorbellRing, close: native.doorbellClose }
}
