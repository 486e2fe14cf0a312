/** Group: one drain's transaction. Reads share it, writes are answered when it has been committed, all or none.
 *  Owns:   BEGIN, COMMIT and ROLLBACK; the tickets that wait for COMMIT, with their keys.
 *  Thread: the sqlite worker.
 *  Holds:  (1) a write is answered OK only after the COMMIT that holds it returned.  (2) when anything in a group of writes
 *          fails, the whole group is rolled back, each of them gets UNAVAILABLE, and their keys are doubted.
 *
 *   idle ──2nd read──▶ reading ──flush──▶ idle        the first read of a drain needs no BEGIN: alone, it is cheaper
 *     └─────write────▶ writing ──flush──▶ idle        without; from the second on, one BEGIN saves each the file locks,
 *                        └─error─▶ failed ──flush──▶ idle      which are half of what a read costs */

import { HearthError } from '../../engine/errors.ts'
import { REPLIES } from '../../engine/protocol/spec.ts'
import type { Replies } from '../handler.ts'
import type { Doubts } from './doubts.ts'
import type { Room } from './room.ts'
import { type SqliteStore, textOf } from './store.ts'
import type { Upkeep } from './upkeep.ts'

/** What is answered to a committed write: OK, or the COUNT that a DEL found. */
export const OUTCOME_OK = -1

const WAL_STUCK =
  'another process has held a read transaction on the cache file for too long: end it there'

const OK_BODY = Buffer.alloc(0)
const COUNT_BODIES = [Buffer.from([0]), Buffer.from([1])] as const

export class Group {
  commits = 0
  writes = 0

  private state: 'idle' | 'reading' | 'writing' | 'failed' = 'idle'
  private hasRead = false
  private readonly tickets: number[] = []
  private readonly outcomes: number[] = []
  /** Keys written or to be mended in this transaction: doubted if it fails. */
  private readonly keys: string[] = []
  private valueBytes = 0
  /** A value went in that may have made the WAL longer than its share. */
  private isLarge = false
  private error: HearthError | undefined

  private readonly store: SqliteStore
  private readonly room: Room
  private readonly doubts: Doubts
  private readonly upkeep: Upkeep

  constructor(store: SqliteStore, room: Room, doubts: Doubts, upkeep: Upkeep) {
    this.store = store
    this.room = room
    this.doubts = doubts
    this.upkeep = upkeep
  }

  /** Before each read. Throws what SQLite throws. */
  beforeRead(): void {
    if (this.state !== 'idle') return
    if (this.hasRead) {
      this.store.statements!.begin.run()
      this.state = 'reading'
    }
    this.hasRead = true
  }

  /** Before each write: opens the transaction. False when the disk does not take it; then `refuse` answers. */
  beforeWrite(valueBytes: number, replies: Replies): boolean {
    const { room } = this
    if (this.state === 'writing') {
      const walBytes = room.walBytes(this.tickets.length + 1, this.valueBytes + valueBytes)
      if (room.walBytesUsed + walBytes > room.walBytesMax) this.commit(replies)
    }
    if (this.state === 'failed') return false
    this.valueBytes += valueBytes
    if (valueBytes > room.walBytesMax - room.walBytesDue) this.isLarge = true
    return this.state === 'writing' || this.begin(replies)
  }

  /** After each write that SQLite took. */
  add(ticket: number, outcome: number, key: string): void {
    this.tickets.push(ticket)
    this.outcomes.push(outcome)
    this.keys.push(key)
  }

  /** A write that was not tried since the group had failed. */
  refuse(ticket: number, key: string, replies: Replies): void {
    this.doubts.add(key)
    replies.fail(ticket, this.error!)
  }

  /** Something failed inside the transaction: all of it is undone and answered. */
  fail(error: unknown, replies: Replies): void {
    const text = textOf(error)
    this.error = new HearthError('UNAVAILABLE', `not written to tier 2, try again later: ${text}`)
    this.state = 'failed'
    this.rollback()
    this.room.reset()
    this.store.failed('write', error)
    for (const key of this.keys) this.doubts.add(key)
    for (const ticket of this.tickets) replies.fail(ticket, this.error)
    this.clear()
  }

  /** A read failed; writes of this drain cannot be trusted to it any more if SQLite or the store ended the transaction. */
  readFailed(error: unknown, replies: Replies): void {
    if (this.state === 'writing') return this.fail(error, replies)
    this.rollback()
    this.state = 'idle'
    this.store.failed('read', error)
  }

  /** End of a drain. */
  flush(replies: Replies): void {
    if (this.state === 'writing') this.commit(replies)
    else if (this.state === 'failed') this.upkeep.afterFailure()
    else if (this.state === 'reading') this.endRead()
    this.state = 'idle'
    this.hasRead = false
    this.error = undefined
  }

  private begin(replies: Replies): boolean {
    try {
      if (this.doubts.everything && this.store.available()) {
        this.store.beginAnew()
        this.doubts.clear()
      }
      if (!this.store.available()) throw new HearthError('UNAVAILABLE', this.store.health().reason)
      if (this.room.walStuck) throw new HearthError('UNAVAILABLE', WAL_STUCK)
      if (this.state === 'reading') this.endRead()
      this.store.statements!.beginWrite.run()
      this.state = 'writing'
      this.room.look()
      this.mend()
      return true
    } catch (error) {
      this.fail(error, replies)
      return false
    }
  }

  /** Deletes what may be out of date, in the transaction of the first writes that succeed. */
  private mend(): void {
    if (!this.doubts.any) return
    this.doubts.moveTo(this.keys)
    for (const key of this.keys) this.store.statements!.del.get(key)
  }

  private commit(replies: Replies): void {
    try {
      this.store.statements!.commit.run()
    } catch (error) {
      this.fail(error, replies)
      return
    }
    this.state = 'idle'
    this.commits++
    this.writes += this.tickets.length
    if (this.store.degraded) this.store.succeeded('write')
    for (let i = 0; i < this.tickets.length; i++) {
      const outcome = this.outcomes[i]!
      if (outcome === OUTCOME_OK) replies.reply(REPLIES.OK.code, this.tickets[i]!, OK_BODY)
      else replies.reply(REPLIES.COUNT.code, this.tickets[i]!, COUNT_BODIES[outcome]!)
    }
    const isLarge = this.isLarge
    this.clear()
    this.upkeep.afterGroup(isLarge)
  }

  private endRead(): void {
    this.state = 'idle'
    try {
      this.store.statements!.commit.run()
    } catch (error) {
      this.rollback()
      this.store.failed('read', error)
    }
  }

  private rollback(): void {
    try {
      if (this.store.inTransaction) this.store.statements!.rollback.run()
    } catch (error) {
      this.store.failed('write', error)
    }
  }

  private clear(): void {
    this.tickets.length = 0
    this.outcomes.length = 0
    this.keys.length = 0
    this.valueBytes = 0
    this.isLarge = false
  }
}
