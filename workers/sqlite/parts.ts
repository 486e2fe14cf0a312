/** Parts: what tier 2 is made of, put together, and what all its operations ask first.
 *  Owns:   the parts; the epoch of the file they know.   Not here: what operations do (reads.ts, writes.ts, invalidation.ts).
 *  Thread: the sqlite worker.
 *  Holds:  while isReady() says so, `store.statements` is there and every part knows the file under it. */

import { WriteBehind } from './behind.ts'
import { Doubts } from './doubts.ts'
import { Entries } from './entries.ts'
import { Group } from './group.ts'
import { Room } from './room.ts'
import { SqliteStore, type StoreOptions } from './store.ts'
import { TagTable } from './tags.ts'
import { Upkeep } from './upkeep.ts'

export class Parts {
  readonly store: SqliteStore
  readonly room: Room
  readonly doubts = new Doubts()
  readonly tags = new TagTable()
  readonly entries: Entries
  readonly behind: WriteBehind
  readonly upkeep: Upkeep
  readonly group: Group
  private epoch = -1

  constructor(options: StoreOptions) {
    this.store = new SqliteStore(options)
    this.room = new Room(this.store)
    this.entries = new Entries(
      this.store,
      this.room,
      this.tags,
      options.compressFromBytes ?? Infinity,
    )
    this.behind = new WriteBehind(options.flushIntervalMs ?? 0)
    this.upkeep = new Upkeep(this.store, this.room, this.entries, this.tags)
    this.entries.onWrote = goneAtMs => this.upkeep.wrote(goneAtMs)
    this.upkeep.isKeepingBack = () => this.behind.size > 0
    this.group = new Group(this, () => this.isReady())
    this.isReady()
  }

  /** Whether there is a connection; learns anew what depends on its file when it is another one. */
  isReady(): boolean {
    if (!this.store.available()) return false
    if (this.epoch === this.store.epoch) return true
    try {
      this.learn()
      this.epoch = this.store.epoch
      return true
    } catch (error) {
      this.store.failed('read', error)
      return false
    }
  }

  private learn(): void {
    const statements = this.store.statements!
    this.tags.open(statements)
    this.entries.open(statements)
    this.entries.count += this.removals()
    this.behind.dropTagged()
    this.room.reset()
  }

  /** Rows that housekeeping has removed, which `entries.count` does not know of. */
  removals(): number {
    return this.room.evictions + this.upkeep.expirations
  }
}
