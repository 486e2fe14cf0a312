/** doorbell: sleeping until the other end of a ring moves a cursor. The only Atomics.wait, waitAsync and
 *  notify here.
 *  Owns:   the parked words.   Not here: the cursors themselves (writer.ts, reader.ts).
 *  Thread: any; `park` blocks and is for worker threads only.
 *  Holds:  no wake-up is lost. The sleeper stores what it has seen of the cursor in its parked word, then
 *          waits for the cursor to differ from that; the mover stores the cursor, then loads the parked word.
 *          Both are sequentially consistent, so either the mover finds the sleeper and notifies it, or the
 *          sleeper finds the new cursor and does not sleep.
 *
 *  The parked word says what was seen, not only that somebody sleeps: a mover that is slow between its store
 *  and its load may find a sleeper that has read that very move already and is about to sleep until the next.
 *  Clearing that one's mark would lose the next wake-up, so a mover clears only marks older than its move.
 *
 *  A mover that finds nobody parked makes no system call: under load that is nearly always. */

const AWAKE = 0

/** Wakes the sleeper on `word`, if there is one. Called by whoever has just stored `moved` in `word`. */
export function wake(control: Int32Array, word: number, parkedWord: number, moved: number): void {
  // Pairs with the store in park() and parkAsync().
  const parked = Atomics.load(control, parkedWord)
  if (parked === AWAKE || parked === parkedOn(moved)) return
  // Lost to a sleeper that is up again, or parks anew: it has seen, or will see, the cursor stored above.
  if (Atomics.compareExchange(control, parkedWord, parked, AWAKE) !== parked) return
  Atomics.notify(control, word)
}

/** Blocks this thread until `word` is no longer `seen`, or so many milliseconds have passed. */
export function park(
  control: Int32Array,
  word: number,
  parkedWord: number,
  seen: number,
  timeoutMs: number,
): void {
  Atomics.store(control, parkedWord, parkedOn(seen))
  Atomics.wait(control, word, seen, timeoutMs)
  Atomics.store(control, parkedWord, AWAKE)
}

/** Resolves once `word` is no longer `seen` or the time is over; undefined when it differs already. Does not
 *  keep the process alive by itself. */
export function parkAsync(
  control: Int32Array,
  word: number,
  parkedWord: number,
  seen: number,
  timeoutMs = Infinity,
): Promise<unknown> | undefined {
  Atomics.store(control, parkedWord, parkedOn(seen))
  const wait = Atomics.waitAsync(control, word, seen, timeoutMs)
  if (wait.async) return wait.value
  Atomics.store(control, parkedWord, AWAKE)
  return undefined
}

/** A cursor as a parked word, never AWAKE. The bit that is lost would need a ring of 16 GiB to matter. */
function parkedOn(cursor: number): number {
  return (cursor << 1) | 1
}
