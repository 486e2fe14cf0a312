/** WriteWatch: tells main of every write that may have changed what is cached, before the reply that acknowledges it.
 *  Owns:   which unanswered requests write what; what open transactions have written.   Not here: what a statement writes
 *          (analysis/).
 *  Thread: postgres worker.
 *  Holds:  (1) it stands between the handlers and the ring: the reply to whatever may have written goes through here, and the ring
 *          keeps order, so main ends what was cached before it can acknowledge anything.  (2) a failed request is told too: it
 *          may have had its effect.  (3) what a transaction has written is told with its end, whichever that is.  (4) before main
 *          asks for it nothing is looked into; what is under way then is told as everything, and so is what is under way when the
 *          schema changes. */

import type { HearthError } from '../../engine/errors.ts'
import { TICKET_COUNT_MAX } from '../../engine/limits.ts'
import {
  SCALAR_BYTES_MAX,
  textBytesMax,
  writeArrayHead,
  writeText,
  writeUint,
} from '../../engine/protocol/body.ts'
import { HAS_MORE, REPLIES } from '../../engine/protocol/spec.ts'
import type { Replies } from '../handler.ts'

/** Tags of tables, or any of the database. */
export type Written = readonly number[] | 'everything'

interface Pending {
  readonly database: string
  written: Written
  act?: () => void
  isDoubtful?: boolean
}

/** Of INVALIDATED: any that is configured. */
export const ANY_DATABASE = ''
/** Tables told of singly; more are told as everything. */
const TABLE_COUNT_MAX = 64

export class WriteWatch implements Replies {
  /** Main wants to be told. */
  isOn = false
  private ring: Replies = NO_RING
  private ticket = -1
  /** By ticket, whether a request is unanswered. */
  private readonly unanswered = new Uint8Array(TICKET_COUNT_MAX)
  private readonly pending = new Map<number, Pending>()
  /** By the handle of a transaction, stream or COPY, of those that were opened since main wants to be told. */
  private readonly open = new Map<number, Pending>()

  /** Where all replies go: the same ring each time. */
  through(ring: Replies): this {
    this.ring = ring
    return this
  }

  /** A request has come. */
  begun(ticket: number): void {
    this.unanswered[ticket] = 1
  }

  /** WATCH_WRITES: from now on, under this ticket, which is never answered. */
  watch(ticket: number): void {
    this.unanswered[ticket] = 0
    this.ticket = ticket
    this.isOn = true
    for (let other = 0; other < TICKET_COUNT_MAX; other++)
      if (this.unanswered[other] === 1) this.expect(other, ANY_DATABASE, 'everything')
  }

  /** The request with this ticket may write. */
  expect(ticket: number, database: string, written: Written): void {
    if (written.length > 0) this.pending.set(ticket, { database, written })
  }

  /** The request with this ticket is one the server did not understand: should it say so again, nothing was run. */
  expectRefusal(ticket: number): void {
    const known = this.pending.get(ticket)
    if (known !== undefined) known.isDoubtful = true
  }

  /** Once the request with this ticket is answered, names may mean something else: then that is to be done. */
  after(ticket: number, act: () => void): void {
    const known = this.pending.get(ticket)
    if (known !== undefined) known.act = act
  }

  /** A handle is given out, behind which so much may have been written by now. */
  opened(handle: number, database: string, written: Written): void {
    this.open.set(handle, { database, written })
  }

  /** What stands behind a handle writes. */
  wrote(handle: number, written: Written): void {
    const known = this.open.get(handle)
    if (known !== undefined) known.written = together(known.written, written)
  }

  /** The request with this ticket ends what stands behind a handle. */
  ends(ticket: number, handle: number): void {
    const { database, written } = this.open.get(handle) ?? UNKNOWN
    this.open.delete(handle)
    this.expect(ticket, database, written)
  }

  /** Tells of a write at once: one that was made elsewhere. */
  tell(database: string, written: Written): void {
    if (!this.isOn) return
    const tables = written === 'everything' || written.length > TABLE_COUNT_MAX ? [] : written
    const bytes = textBytesMax(database) + SCALAR_BYTES_MAX * (tables.length + 1)
    const body = Buffer.allocUnsafe(bytes)
    let end = writeArrayHead(body, writeText(body, 0, database), tables.length)
    for (const table of tables) end = writeUint(body, end, table)
    this.ring.reply(REPLIES.INVALIDATED.code, this.ticket, body, 0, end)
  }

  reply(op: number, ticket: number, body: Uint8Array, start?: number, end?: number): void {
    if (HAS_MORE[op] === 0) this.settle(ticket)
    this.ring.reply(op, ticket, body, start, end)
  }

  fail(ticket: number, error: HearthError): void {
    if (this.pending.get(ticket)?.isDoubtful === true && isNotUnderstood(error))
      this.pending.delete(ticket)
    this.settle(ticket)
    this.ring.fail(ticket, error)
  }

  /** What was expected of those who run yet was found out before. */
  private changed(act: () => void): void {
    act()
    for (const each of this.pending.values()) each.written = 'everything'
    for (const each of this.open.values()) each.written = 'everything'
  }

  private settle(ticket: number): void {
    this.unanswered[ticket] = 0
    if (this.pending.size === 0) return
    const known = this.pending.get(ticket)
    if (known === undefined) return
    this.pending.delete(ticket)
    if (known.act !== undefined) this.changed(known.act)
    this.tell(known.database, known.written)
  }
}

function together(some: Written, more: Written): Written {
  if (some === 'everything' || more === 'everything') return 'everything'
  return [...new Set([...some, ...more])]
}

/** SQLSTATE class 42: syntax errors and unknown names. */
function isNotUnderstood({ code, sqlState }: HearthError): boolean {
  return code === 'DATABASE' && sqlState?.startsWith('42') === true
}

const UNKNOWN: Pending = { database: ANY_DATABASE, written: 'everything' }

const NO_RING: Replies = {
  reply: () => {
    throw new Error('nothing was asked yet')
  },
  fail: () => {
    throw new Error('nothing was asked yet')
  },
}
