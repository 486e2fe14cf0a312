/** Doubts: keys whose write failed, so that what the file holds for them may be older than what a client was told.
 *  Owns:   the set of such keys.   Not here: deleting them once the disk takes writes again (group.ts).
 *  Thread: the sqlite worker.
 *  Holds:  (1) a doubted key is a miss.  (2) memory is bounded: past KEY_UNITS_MAX all keys are doubted, and the file is
 *          begun anew when the disk is well.
 *
 *  Needed because a set with durability `memory` is acknowledged before it gets here: without this, a full disk would bring
 *  back the value before it as soon as tier 1 evicts the new one. */

const KEY_UNITS_MAX = 64 * 1024

export class Doubts {
  /** Too many to name: everything in the file is doubted. */
  everything = false
  private readonly keys = new Set<string>()
  private units = 0

  get any(): boolean {
    return this.everything || this.keys.size > 0
  }

  holds(key: string): boolean {
    return this.everything || (this.keys.size > 0 && this.keys.has(key))
  }

  add(key: string): void {
    if (this.everything || this.keys.has(key)) return
    this.keys.add(key)
    this.units += key.length
    if (this.units > KEY_UNITS_MAX) {
      this.clear()
      this.everything = true
    }
  }

  /** Moves the named keys to `target`: a transaction is about to delete them, and adds them again if it fails. */
  moveTo(target: string[]): void {
    for (const key of this.keys) target.push(key)
    this.keys.clear()
    this.units = 0
  }

  clear(): void {
    this.everything = false
    this.keys.clear()
    this.units = 0
  }
}
