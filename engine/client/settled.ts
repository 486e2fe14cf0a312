/** settled: a promise of what is there already.
 *  Owns:   a count.   Thread: the client's.
 *  Holds:  a loop of awaits on such promises leaves the microtasks now and then: it would starve every timer and socket of the
 *          process. */

/** About 2 ms of reads in place. */
const READS_PER_TURN = 4_096

let count = 0

/** Resolves at once; each so many wait for a turn of the event loop. */
export function settled<T>(value: T): Promise<T> {
  if (++count % READS_PER_TURN !== 0) return Promise.resolve(value)
  return new Promise(resolve => setImmediate(resolve, value))
}
