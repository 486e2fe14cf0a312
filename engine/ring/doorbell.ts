/** doorbell: sleeping until the other end of a ring moves a cursor. The only Atomics.wait, waitAsync and notify here.
 *  Owns:   the parked words.   Not here: the cursors themselves (writer.ts, reader.ts).
 *  Thread: any; `park` blocks and is for worker threads only.
 *  Holds:  no wake-up is lost. The sleeper stores parked = 1, then waits for the cursor to differ from what it has seen;
 *          the mover stores the cursor, then loads parked. Both are sequentially consistent, so either the mover sees
 *          parked and notifies, or the sleeper sees the new cursor and does not sleep.
 *
 *  A mover that finds nobody parked makes no system call: under load that is nearly always. */

/** Wakes the sleeper on `word`, if there is one. Called by whoever has just stored `word`. */
export function wake(control: Int32Array, word: number, parkedWord: number): void {
  // Pairs with the store in park() and parkAsync().
  if (Atomics.load(control, parkedWord) === 0) return
  Atomics.store(control, parkedWord, 0)
  Atomics.notify(control, word)
}

/** Blocks this thread until `word` is no longer `seen`, or so many milliseconds have passed. */
export function park(control: Int32Array, word: number, parkedWord: number, seen: number, timeoutMs: number): void {
  Atomics.store(control, parkedWord, 1)
  Atomics.wait(control, word, seen, timeoutMs)
  Atomics.store(control, parkedWord, 0)
}

/** Resolves once `word` is no longer `seen`; undefined when that is so already. Never keeps the process alive by itself. */
export function parkAsync(
  control: Int32Array,
  word: number,
  parkedWord: number,
  seen: number,
): Promise<unknown> | undefined {
  Atomics.store(control, parkedWord, 1)
  const wait = Atomics.waitAsync(control, word, seen)
  if (wait.async) return wait.value
  Atomics.store(control, parkedWord, 0)
  return undefined
}
