/** use: what main knows of an entry's use, in its word `visited`: SIEVE's mark, how often it was read, and whether the list of
 *  those read most, in SQLite, has it.
 *  Owns:   the word's layout.   Not here: who sets the mark (sieve.ts), what becomes of the counts (hot.ts).
 *  Thread: main.
 *  Holds:  counting stops at READS_MAX; it never touches the other two.
 *
 *      bit   0         1        2
 *            | visited | listed | reads ...
 *
 *  A read over the socket counts one. Of readers in place it is only seen that they have read an entry, five times a second at
 *  most, so there one stands for all since the last look: what is read all the time comes out on top either way. */

export const USE = { visited: 1, listed: 2, readsShift: 2 } as const

const ONE_READ = 1 << USE.readsShift
/** A count needs its upper half only to tell apart what is read all the time. */
const READS_MAX = 2 ** 24
const FULL = READS_MAX << USE.readsShift

/** The word after one more read. */
export function counted(use: number): number {
  return (use < FULL ? use + ONE_READ : use) | USE.visited
}

export function readsIn(use: number): number {
  return use >> USE.readsShift
}

/** The word with another count. */
export function withReads(use: number, reads: number): number {
  return (use & (ONE_READ - 1)) | (Math.min(reads, READS_MAX) << USE.readsShift)
}
