/** doorbell: sleeping until the other end of a ring moves a cursor. The only Atomics.wait, waitAsync and notify here.
 *  Owns:   the words of a sleeper: parked, bell, can ring.   Not here: the cursors themselves (writer.ts, reader.ts).
 *  Thread: any; `park` blocks and is for worker threads only.
 *  Holds:  no wake-up is lost. The sleeper stores what it has seen of the cursor in its parked word, then
 *          waits for the cursor to differ from that; the mover stores the cursor, then loads the parked word.
 *          Both are sequentially consistent, so either the mover finds the sleeper and wakes it, or the
 *          sleeper finds the new cursor and does not sleep.
 *
 *  The parked word says what was seen, not only that somebody sleeps: a mover that is slow between its store
 *  and its load may find a sleeper that has read that very move already and is about to sleep until the next.
 *  Clearing that one's mark would lose the next wake-up, so a mover clears only marks older than its move.
 *
 *  A mover that finds nobody parked makes no system call: under load that is nearly always.
 *
 *  Three ways to sleep. A thread without an event loop to run blocks in Atomics.wait. One with a loop hangs up a native bell, whose
 *  callback runs straight from the loop. Atomics.waitAsync, which serves where the native binding is missing at either end, goes
 *  through V8's task queue and a promise: one query at a time then takes a fifth more time, and a fifth more of the engine's CPU.
 *  Looking again for a while before sleeping costs more than it brings: the other cores have the client and Postgres to run. */

import { nativeDoorbells } from '../native.ts'
import { BELL_BESIDE, CAN_RING_BESIDE } from './layout.ts'

const AWAKE = 0

/** Wakes the sleeper on `word`, if there is one. Called by whoever has just stored `moved` in `word`. */
export function wake(control: Int32Array, word: number, parkedWord: number, moved: number): void {
  // Pairs with the store in park(), parkAsync() and Sleeper.sleep().
  const parked = Atomics.load(control, parkedWord)
  if (parked === AWAKE || parked === parkedOn(moved)) return
  // Lost to a sleeper that is up again, or parks anew: it has seen, or will see, the cursor stored above.
  if (Atomics.compareExchange(control, parkedWord, parked, AWAKE) !== parked) return
  // Pairs with the store in Sleeper.hang(), which comes before the parked word that was found above.
  const bell = Atomics.load(control, parkedWord + BELL_BESIDE)
  if (bell === 0) Atomics.notify(control, word)
  else nativeDoorbells()!.ring(bell)
}

/** Tells the sleeper beside whose parked word this is that its mover, this thread, can ring bells. */
export function offerRinging(control: Int32Array, parkedWord: number): void {
  // Pairs with the load in Sleeper.hang().
  if (nativeDoorbells() !== undefined) Atomics.store(control, parkedWord + CAN_RING_BESIDE, 1)
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

/** Resolves once `word` is no longer `seen`; undefined when it differs already. Does not keep the process alive by itself. Without
 *  a time limit: each would leave a timer in the event loop until it has run out. */
export function parkAsync(
  control: Int32Array,
  word: number,
  parkedWord: number,
  seen: number,
): Promise<unknown> | undefined {
  Atomics.store(control, parkedWord, parkedOn(seen))
  const wait = Atomics.waitAsync(control, word, seen)
  if (wait.async) return wait.value
  Atomics.store(control, parkedWord, AWAKE)
  return undefined
}

/** How a thread with an event loop sleeps on a word, again and again: by a bell if both ends have it, else in waitAsync. */
export class Sleeper {
  private readonly control: Int32Array
  private readonly word: number
  private readonly parkedWord: number
  private readonly callback: () => void
  /** Its number; 0 until the mover says that it can ring, -1 when there is none to have. */
  private bell = 0
  private isAsleep = false

  /** `callback` runs from the event loop, once for each sleep(); now and then without a move. */
  constructor(control: Int32Array, word: number, parkedWord: number, callback: () => void) {
    this.control = control
    this.word = word
    this.parkedWord = parkedWord
    this.callback = callback
  }

  /** Calls back once `word` is no longer `seen`; false, and no call, when it differs already. */
  sleep(seen: number): boolean {
    const { control, word, parkedWord } = this
    if (this.bell <= 0 && !this.hang()) {
      const wait = parkAsync(control, word, parkedWord, seen)
      this.isAsleep = wait !== undefined
      void wait?.then(this.rung)
      return this.isAsleep
    }
    Atomics.store(control, parkedWord, parkedOn(seen))
    // Pairs with the store of the cursor before wake(): it comes after the store above, or is seen here.
    this.isAsleep = Atomics.load(control, word) === seen
    if (!this.isAsleep) Atomics.store(control, parkedWord, AWAKE)
    return this.isAsleep
  }

  /** No call comes after this. */
  close(): void {
    this.isAsleep = false
    if (this.bell > 0) nativeDoorbells()!.close(this.bell)
  }

  /** Hangs up a bell. Not before the mover, which may start later, has said that it can ring. */
  private hang(): boolean {
    const { control, parkedWord } = this
    if (this.bell < 0 || Atomics.load(control, parkedWord + CAN_RING_BESIDE) === 0) return false
    this.bell = nativeDoorbells()?.open(this.rung) || -1
    // Before any parked word of the sleeps to come, so the mover that finds one finds the bell.
    if (this.bell > 0) Atomics.store(control, parkedWord + BELL_BESIDE, this.bell)
    return this.bell > 0
  }

  /** A ring may come late: for a sleep that was cut short because the cursor had moved already. */
  private readonly rung = (): void => {
    if (!this.isAsleep) return
    this.isAsleep = false
    this.callback()
  }
}

/** A cursor as a parked word, never AWAKE. The bit that is lost would need a ring of 16 GiB to matter. */
function parkedOn(cursor: number): number {
  return (cursor << 1) | 1
}
