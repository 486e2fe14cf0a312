/** Upkeep: removes expired rows, gives free pages back to the disk, keeps the WAL short. A few milliseconds a turn.
 *  Owns:   the walk over the ids, the times of checkpoints.   Not here: evicting for room (room.ts).
 *  Thread: the sqlite worker, never inside a group's transaction.
 *  Holds:  (1) nothing here fails a request: an error is noted in the store's health.  (2) with nothing expired, nothing
 *          free and an empty WAL it asks for no turn before the next expiry.
 *
 *  Checkpoints: PASSIVE once the WAL is as long as wal_pace.ts says, three quarters of its share at most (no reader waits, and since
 *  this thread is the only writer the next write starts the WAL over); TRUNCATE when all is quiet, after a very large value, and on
 *  closing. The kernel writes the WAL to the disk while it grows (wal_file.ts). */

import { monotonicMs, wallMs } from '../../engine/clock.ts'
import type { Entries } from './entries.ts'
import { FRAME_BYTES, type Room } from './room.ts'
import { PAGE_BYTES } from './statements.ts'
import type { SqliteStore } from './store.ts'
import type { TagTable } from './tags.ts'
import { WalFile } from './wal_file.ts'
import { WalPace } from './wal_pace.ts'

/** Rows of one window of the walk; fewer while the expired ones among them are large. */
const WINDOW_ROWS_MAX = 256
const WINDOW_BYTES_MAX = 2 * 1024 * 1024
/** One walk after another, when something expires all the time. */
const WALK_PAUSE_MS = 2_000
/** Pages given back at a time, and how many free ones are left alone: they are used again. */
const VACUUM_PAGES = 32
const FREE_PAGES_KEPT = 64
/** On a busy worker: one turn of the walk every so many groups. */
const GROUPS_PER_TURN = 16
/** Quiet for this long: the WAL is emptied. It costs two fsyncs, so not after every write. */
const QUIET_MS = 1_000
const SOON_MS = 2
const WALK_MS = 25
/** Rows that an invalidated tag has left are removed so many at a time. */
const PURGE_ROWS = 128
/** Rows with long values take long: reads get between. */
const PURGE_MS = 2
/** Tags that wait for it; of more, tags.ts finds the rest again. */
const PURGE_COUNT_MAX = 256
/** How often tags are looked through for unused ones. */
const FORGET_MS = 5_000
const REST_MS_MAX = 60_000

export class Upkeep {
  expirations = 0
  /** Rows that the last whole walk met. */
  entries: number | undefined

  private readonly store: SqliteStore
  private readonly room: Room
  private epoch = -1
  /** Nothing expires before this, and the same as found by the walk so far. */
  private soonestMs = 0
  private walkSoonestMs = Infinity
  private walkRows = 0
  private walking = false
  private nextWalkMs = 0
  private vacuuming = false
  private readonly window = { hand: 0, rows: WINDOW_ROWS_MAX, now: 0 }
  private groups = 0
  private lastWriteMs = monotonicMs()
  private walEmpty = false
  /** Entries of a tag up to a version: invalidated, and to be removed. */
  private readonly purges: { readonly tag: number; readonly version: number }[] = []
  private forgetAtMs = 0
  /** Whether an entry that has no row yet may carry a tag. */
  isKeepingBack: () => boolean = () => false
  /** Bytes written to the disk, log and file, since the start. */
  writtenBytes = 0
  private lastLog = 0

  private readonly rows: Entries
  private readonly tags: TagTable
  private readonly wal: WalFile
  private readonly pace: WalPace

  constructor(store: SqliteStore, room: Room, entries: Entries, tags: TagTable) {
    this.store = store
    this.room = room
    this.rows = entries
    this.tags = tags
    this.wal = new WalFile(store)
    this.pace = new WalPace(room.walBytesDue)
  }

  /** Rows that carry a tag in this version or an older one are to be removed, by and by. */
  purge(tag: number, version: number): void {
    if (this.purges.length < PURGE_COUNT_MAX) this.purges.push({ tag, version })
  }

  /** A row was written: the walk must be back by then. */
  wrote(expiresAtMs: number): void {
    if (expiresAtMs < this.soonestMs) this.soonestMs = expiresAtMs
    if (expiresAtMs < this.walkSoonestMs) this.walkSoonestMs = expiresAtMs
  }

  /** After each group of writes. `isLarge`: it held a value that the WAL has no room for; `isStep`: it was a step of a walk. */
  afterGroup(isLarge: boolean, isStep: boolean): void {
    this.walEmpty = false
    this.lastWriteMs = monotonicMs()
    this.guarded('checkpoint', () => this.checkpoint(isLarge, isStep))
    if (++this.groups % GROUPS_PER_TURN === 0) this.guarded('write', () => this.step())
  }

  /** After a group that failed: a WAL that can be emptied makes room on a disk that is smaller than the bound. */
  afterFailure(): void {
    if (this.room.walBytesUsed > 0) this.guarded('checkpoint', () => this.truncate())
  }

  /** A turn when nothing else is to be done. Returns how soon it wants the next, in milliseconds. */
  idle(): number {
    if (this.guarded('write', () => this.step())) return this.vacuuming ? SOON_MS : WALK_MS
    const quietMs = monotonicMs() - this.lastWriteMs
    if (!this.walEmpty) {
      if (quietMs < QUIET_MS) return Math.ceil(QUIET_MS - quietMs)
      this.guarded('checkpoint', () => this.truncate())
      if (!this.walEmpty) return QUIET_MS
    }
    const untilMs = Math.max(this.soonestMs - wallMs(), this.nextWalkMs - monotonicMs())
    return Math.min(Math.max(Math.ceil(untilMs), SOON_MS), REST_MS_MAX)
  }

  /** The store is about to be closed. */
  close(): void {
    this.wal.close()
  }

  /** Empties the WAL as far as it goes; on closing, and after a value that it had no room for. */
  truncate(): void {
    const statements = this.store.statements
    if (statements === undefined) return
    const [, log, done] = statements.walPages.get()!
    const [busy] = statements.truncate.get()!
    this.walEmpty = busy === 0
    if (this.walEmpty) {
      this.writtenBytes += Math.max(0, log - this.lastLog) * FRAME_BYTES
      this.writtenBytes += Math.max(0, log - done) * PAGE_BYTES
      this.lastLog = 0
      this.room.walStuck = false
      this.room.walBytesUsed = 0
    }
    this.store.succeeded('checkpoint')
  }

  /** The log's length; in a transaction, where SQLite does not tell (SQLITE_LOCKED), as it was last. */
  walBytes(): number {
    if (this.store.inTransaction) return this.lastLog * FRAME_BYTES
    const [, log] = this.store.statements?.walPages.get() ?? [0, 0]
    return Math.max(0, log) * FRAME_BYTES
  }

  /** One step of whatever is due; false when nothing is. */
  private step(): boolean {
    if (this.store.statements === undefined) return false
    if (this.epoch !== this.store.epoch) this.startOver()
    if (this.shrink() || this.purgeSome() || this.forgetTags()) return true
    const due = this.soonestMs <= wallMs() && monotonicMs() >= this.nextWalkMs
    if (!this.walking && !due) return false
    this.walk()
    return true
  }

  private startOver(): void {
    this.epoch = this.store.epoch
    this.soonestMs = 0
    this.nextWalkMs = 0
    this.walking = false
    this.vacuuming = false
    this.purges.length = 0
    this.lastLog = 0
    this.room.reset()
  }

  /** Removes some rows that an invalidated tag has left. */
  private purgeSome(): boolean {
    const purge = this.purges[0]
    if (purge === undefined) return false
    const statements = this.store.statements!
    const carriers = statements.carriers.all(purge.tag, 0, purge.version, PURGE_ROWS)
    let removed = 0
    if (carriers.length > 0) {
      const endMs = monotonicMs() + PURGE_MS
      this.rows.transact(() => {
        for (const [id, , meta] of carriers) {
          this.rows.removeById(id, meta)
          removed++
          if (monotonicMs() > endMs) break
        }
      })
      this.room.reset()
      this.walEmpty = false
      this.checkpoint(false, true)
    }
    if (removed === carriers.length && removed < PURGE_ROWS) this.purges.shift()
    return true
  }

  private forgetTags(): boolean {
    if (!this.tags.areUsed || this.isKeepingBack() || monotonicMs() < this.forgetAtMs) return false
    const hasWorked = this.tags.forgetSome(this.store.statements!, (tag, version) =>
      this.purge(tag, version),
    )
    if (!hasWorked) this.forgetAtMs = monotonicMs() + FORGET_MS
    else this.walEmpty = false
    return hasWorked
  }

  /** Gives pages back: from an eighth of the file being free down to the few that are kept; at once when it is too large. */
  private shrink(): boolean {
    const { room } = this
    const oversizePages = room.oversizePages()
    let freePages = room.freePages()
    if (oversizePages > 0) {
      this.vacuuming = true
      if (freePages < VACUUM_PAGES) {
        this.rows.guarded(() => room.evictRun())
        freePages = room.freePages()
      }
    } else {
      if (freePages <= FREE_PAGES_KEPT) this.vacuuming = false
      else if (freePages * 8 > room.pageCount()) this.vacuuming = true
      if (!this.vacuuming) return false
    }
    if (freePages === 0) return oversizePages > 0
    this.store.incrementalVacuum(Math.min(VACUUM_PAGES, freePages))
    room.reset()
    this.walEmpty = false
    this.checkpoint(false, true)
    return true
  }

  /** Looks at the next window of ids and deletes the expired rows in it. */
  private walk(): void {
    const { window } = this
    const statements = this.store.statements!
    if (!this.walking) {
      this.walking = true
      this.walkRows = 0
      this.walkSoonestMs = Infinity
      window.hand = 0
    }
    window.now = wallMs()
    let seen = statements.window.get(window)!
    while (seen[3] > WINDOW_BYTES_MAX && window.rows > 1) {
      window.rows = Math.ceil(window.rows / 4)
      seen = statements.window.get(window)!
    }
    const [end, rows, expired, , soonestMs] = seen
    if (end === null) return this.endWalk()
    if (expired > 0) {
      this.expirations += this.rows.expire(window.hand, end, window.now)
      this.room.reset()
      this.walEmpty = false
      this.checkpoint(false, true)
    }
    window.hand = end
    this.walkRows += rows - expired
    if (soonestMs !== null && soonestMs < this.walkSoonestMs) this.walkSoonestMs = soonestMs
    const isLast = rows < window.rows
    window.rows = Math.min(WINDOW_ROWS_MAX, window.rows * 2)
    if (isLast) this.endWalk()
  }

  private endWalk(): void {
    this.walking = false
    this.entries = this.walkRows
    this.soonestMs = this.walkSoonestMs
    this.nextWalkMs = monotonicMs() + WALK_PAUSE_MS
  }

  /** If it is due. Walks are in no hurry, so after their steps it is due early, and soon over. */
  private checkpoint(isLarge: boolean, isStep: boolean): void {
    const statements = this.store.statements
    if (statements === undefined) return
    if (isLarge || this.store.hasTrouble('checkpoint')) return this.truncate()
    const [, log, done] = statements.walPages.get()!
    const bytes = log * FRAME_BYTES
    // The log grows, or has been begun anew.
    this.writtenBytes += (log >= this.lastLog ? log - this.lastLog : log) * FRAME_BYTES
    this.lastLog = log
    this.room.walBytesUsed = done === log ? 0 : bytes
    this.room.walStuck = false
    if (done === log) return
    const { pace } = this
    if (bytes < (isStep ? pace.leastBytes : pace.dueBytes)) return this.wal.grew(bytes)
    const startMs = monotonicMs()
    const [, after, copied] = statements.checkpoint.get()!
    if (bytes >= pace.dueBytes) pace.took(monotonicMs() - startMs, startMs)
    this.writtenBytes += Math.max(0, copied - done) * PAGE_BYTES
    if (copied === after) this.room.walBytesUsed = 0
    else this.room.walStuck = bytes > this.store.maxBytes
    this.store.succeeded('checkpoint')
  }

  /** Runs a piece of housekeeping; an error is noted, and counts as nothing done. */
  private guarded(area: 'write' | 'checkpoint', work: () => unknown): boolean {
    try {
      return work() === true
    } catch (error) {
      this.room.reset()
      this.store.failed(area, error)
      return false
    }
  }
}
