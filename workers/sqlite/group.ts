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
import { SCALAR_BYTES_MAX, writeUint } from '../../engine/protocol/body.ts'
import { REPLIES } from '../../engine/protocol/spec.ts'
import type { Replies } from '../handler.ts'
import type { Doubts } from './doubts.ts'
import type { Entries } from './entries.ts'
import type { Room } from './room.ts'
import { type SqliteStore, textOf } from './store.ts'
import type { Upkeep } from './upkeep.ts'

/** What is answered to a committed write: a COUNT from 0 up, OK, or a reply of its own. */
export const OUTCOME_OK = -1
const OUTCOME_REPLY = -2
/** The ticket of what nobody waits for. */
export const NOBODY = -1

const WAL_STUCK =
  'another process has held a read transaction on the cache file for too long: end it there'

const OK_BODY = Buffer.alloc(0)
const countBody = Buffer.alloc(SCALAR_BYTES_MAX)

interface GroupParts {
  readonly store: SqliteStore
  readonly room: Room
  readonly doubts: Doubts
  readonly upkeep: Upkeep
  readonly entries: Entries
}

export class Group {
  commits = 0
  writes = 0

  private state: 'idle' | 'reading' | 'writing' | 'failed' = 'idle'
  private hasRead = false
  private readonly tickets: number[] = []
  private readonly outcomes: number[] = []
  /** Replies of OUTCOME_REPLY, in the order of their tickets. */
  private readonly bodies: { readonly op: number; readonly body: Buffer }[] = []
  private rows = 0
  /** Keys written or to be mended in this transaction: doubted if it fails. */
  private readonly keys: string[] = []
  private valueBytes = 0
  /** A value went in that may have made the WAL longer than its share. */
  private isLarge = false
  /** A step of a walk is in it: nobody gains by a long WAL. */
  private isStep = false
  private error: HearthError | undefined
  /** Of the group committed last: whether settle() is to come, and what it is to know. */
  private isOwed = false
  private wasLarge = false
  private wasStep = false

  private readonly store: SqliteStore
  private readonly room: Room
  private readonly doubts: Doubts
  private readonly upkeep: Upkeep
  private readonly entries: Entries
  private readonly isReady: () => boolean

  constructor({ store, room, doubts, upkeep, entries }: GroupParts, isReady: () => boolean) {
    this.isReady = isReady
    this.store = store
    this.room = room
    this.doubts = doubts
    this.upkeep = upkeep
    this.entries = entries
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
  beforeWrite(valueBytes: number, replies: Replies, rows = 1): boolean {
    const { room } = this
    if (this.state === 'writing') {
      const walBytes = room.walBytes(this.rows + rows, this.valueBytes + valueBytes)
      if (room.walBytesUsed + walBytes > room.walBytesMax) this.commit(replies)
    }
    this.settle()
    if (this.state === 'failed') return false
    this.valueBytes += valueBytes
    this.rows += rows
    if (valueBytes > room.walBytesMax - room.walBytesDue) this.isLarge = true
    return this.state === 'writing' || this.begin(replies)
  }

  /** A write that is answered with the COMMIT. `key`: what is doubted if that fails. */
  add(ticket: number, outcome: number, key?: string): void {
    this.tickets.push(ticket)
    this.outcomes.push(outcome)
    if (key !== undefined) this.keys.push(key)
  }

  /** The same, with a reply of its own; `body` is the caller's gift. */
  addReply(ticket: number, op: number, body: Buffer, key?: string): void {
    this.bodies.push({ op, body })
    this.add(ticket, OUTCOME_REPLY, key)
  }

  /** What is written now is a step of a walk. */
  addStep(): void {
    this.isStep = true
  }

  /** A key that is written though nobody waits for it. */
  addUnasked(key: string): void {
    this.keys.push(key)
    this.writes++
  }

  /** Answers when what has been written so far is committed: with the group, or now. */
  addBarrier(ticket: number, replies: Replies): void {
    if (this.state === 'failed') replies.fail(ticket, this.error!)
    else if (this.state === 'writing') this.add(ticket, OUTCOME_OK)
    else replies.reply(REPLIES.OK.code, ticket, OK_BODY)
  }

  /** A write that was not tried since the group had failed. */
  refuse(ticket: number, key: string | undefined, replies: Replies): void {
    if (key !== undefined) this.doubts.add(key)
    if (ticket !== NOBODY) replies.fail(ticket, this.error!)
  }

  /** Something failed inside the transaction: all of it is undone and answered. */
  fail(error: unknown, replies: Replies): void {
    const text = textOf(error)
    this.error = new HearthError('UNAVAILABLE', `not written to tier 2, try again later: ${text}`)
    this.state = 'failed'
    this.rollback()
    this.room.reset()
    this.entries.rolledBack()
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

  /** What a group that was committed leaves to do: a checkpoint takes milliseconds, so its replies go first. */
  settle(): void {
    if (!this.isOwed) return
    this.isOwed = false
    this.upkeep.afterGroup(this.wasLarge, this.wasStep)
  }

  private begin(replies: Replies): boolean {
    try {
      if (this.doubts.everything && this.store.available()) {
        this.store.beginAnew()
        this.doubts.clear()
      }
      if (!this.isReady()) throw new HearthError('UNAVAILABLE', this.store.health().reason)
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
    for (const key of this.keys) this.entries.remove(key, 0)
  }

  private commit(replies: Replies): void {
    try {
      this.entries.beforeCommit()
      this.store.statements!.commit.run()
    } catch (error) {
      this.fail(error, replies)
      return
    }
    this.state = 'idle'
    this.commits++
    this.writes += this.tickets.length
    if (this.store.degraded) this.store.succeeded('write')
    for (let i = 0, replied = 0; i < this.tickets.length; i++) {
      const ticket = this.tickets[i]!
      const outcome = this.outcomes[i]!
      if (outcome === OUTCOME_OK) replies.reply(REPLIES.OK.code, ticket, OK_BODY)
      else if (outcome === OUTCOME_REPLY) {
        const { op, body } = this.bodies[replied++]!
        replies.reply(op, ticket, body)
      } else {
        replies.reply(REPLIES.COUNT.code, ticket, countBody, 0, writeUint(countBody, 0, outcome))
      }
    }
    this.isOwed = true
    this.wasLarge = this.isLarge
    this.wasStep = this.isStep
    this.clear()
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
    this.bodies.length = 0
    this.rows = 0
    this.valueBytes = 0
    this.isLarge = false
    this.isStep = false
  }
}
