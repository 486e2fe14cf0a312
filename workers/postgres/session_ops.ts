/** session_ops: the frames that need a connection for themselves: transactions, streams, COPY, LISTEN.
 *  Owns:   what is open, by handle.   Not here: what each of them is (transaction.ts, cursor.ts, copy.ts, listener.ts), single
 *          statements and CANCEL (ops.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) every frame gets one closing reply.  (2) a handle is given out when its thing is open at the server, and closed
 *          when that is over there, so whoever is told so finds its locks released. */

import { HearthError } from '../../engine/errors.ts'
import { BodyReader, SCALAR_BYTES_MAX, writeUint } from '../../engine/protocol/body.ts'
import { decodeValue, encodeValue } from '../../engine/protocol/payload.ts'
import { BEGIN_FLAGS, OPS, REPLIES } from '../../engine/protocol/spec.ts'
import type { Replies, RequestFrame } from '../handler.ts'
import type { Admission, Side } from './admission.ts'
import { beginText } from './begin_text.ts'
import { Copy } from './copy.ts'
import { Cursor, checkStreamable } from './cursor.ts'
import { Handles } from './handles.ts'
import type { Insight } from './insight/insight.ts'
import { recorded } from './insight/recorded.ts'
import type { Listener } from './listener.ts'
import { toParameters } from './parameters.ts'
import type { Pool } from './pool.ts'
import type { ReadResult } from './results.ts'
import type { Analysed, SessionWrites } from './session_writes.ts'
import { commented } from './statement.ts'
import { Transaction, type TransactionLimits } from './transaction.ts'
import type { Underway } from './underway.ts'

/** What of a database is served here. */
export interface Exclusive extends Analysed {
  readonly listener: Listener
  /** For what says that it only reads, another one than for what may write. */
  serverFor(
    isReadOnly: boolean,
    client: number,
  ): { readonly pool: Pool; readonly admission: Admission }
  /** A client's writes are over, or may be: called before it is told. */
  wrote(client: number): void
}

/** What a handle stands for. */
interface Open {
  readonly kind: 'transaction' | 'stream' | 'COPY'
  readonly correlationId: string
  readonly transaction: Transaction
  readonly cursor?: Cursor
  readonly copy?: Copy
  /** Before it is answered that it was committed, or may have been. */
  readonly wrote: () => void
  /** Handles that end with this one: the cursors of a transaction. */
  readonly inner: number[]
}

interface Opening {
  readonly database: Exclusive
  readonly limits: TransactionLimits
}

type Refuse = (error: HearthError) => void

export class SessionOps {
  readonly ops: readonly number[] = [
    OPS.BEGIN,
    OPS.EXECUTE,
    OPS.COMMIT,
    OPS.CLOSE,
    OPS.STREAM,
    OPS.FETCH,
    OPS.COPY_OUT,
    OPS.COPY_READ,
    OPS.COPY_IN,
    OPS.COPY_WRITE,
    OPS.COPY_END,
    OPS.LISTEN,
  ].map(op => op.code)

  private readonly databaseOf: (name: string, correlationId: string) => Exclusive
  private readonly underway: Underway
  private readonly writes: SessionWrites
  private readonly reader = new BodyReader()
  private readonly handles = new Handles<Open>()
  private readonly insight: Insight

  constructor(
    databaseOf: (name: string, correlationId: string) => Exclusive,
    underway: Underway,
    writes: SessionWrites,
    insight: Insight,
  ) {
    this.insight = insight
    this.databaseOf = databaseOf
    this.underway = underway
    this.writes = writes
  }

  get openCount(): number {
    return this.handles.count
  }

  /** Takes a frame whose ticket is under way; throws what is wrong with it. */
  handle(frame: RequestFrame, replies: Replies): void {
    const reader = this.reader.reset(frame.bytes, frame.start, frame.end)
    const { ticket } = frame
    const answer = (op: number, body: Uint8Array = EMPTY) => {
      if (this.underway.end(ticket)) replies.reply(op, ticket, body)
    }
    const refuse: Refuse = error => {
      if (this.underway.end(ticket)) replies.fail(ticket, error)
    }
    switch (frame.op) {
      case OPS.BEGIN.code:
        return this.begin(frame, reader, answer, refuse)
      case OPS.EXECUTE.code:
        return this.execute(frame, reader, answer, refuse)
      case OPS.COMMIT.code:
        return this.commit(ticket, reader.uint(), answer, refuse)
      case OPS.CLOSE.code:
        return this.close(ticket, reader.uint(), () => answer(REPLIES.OK.code))
      case OPS.STREAM.code:
        return this.stream(frame, reader, answer, refuse)
      case OPS.FETCH.code: {
        const { cursor, correlationId } = this.get(reader.uint(), 'stream')
        const reply = (body: Buffer) => answer(REPLIES.ROWS.code, body)
        return this.underway.set(ticket, cursor!.fetch(reader.uint(), correlationId, reply, refuse))
      }
      case OPS.COPY_OUT.code:
      case OPS.COPY_IN.code:
        return this.copy(frame, reader, answer, refuse)
      case OPS.COPY_READ.code: {
        const { copy } = this.get(reader.uint(), 'COPY', 'out')
        return copy!.read(chunk => answer(REPLIES.CHUNK.code, chunk), refuse)
      }
      case OPS.COPY_WRITE.code: {
        const { copy } = this.get(reader.uint(), 'COPY', 'in')
        const bytes = frame.bytes.subarray(reader.at, frame.end)
        return copy!.write(bytes, () => answer(REPLIES.OK.code), refuse)
      }
      case OPS.COPY_END.code:
        return this.copyEnd(ticket, reader.uint(), answer, refuse)
      default:
        return this.listen(ticket, reader, replies)
    }
  }

  private begin(frame: RequestFrame, reader: BodyReader, answer: Answer, refuse: Refuse): void {
    const { database, limits } = this.opening(reader)
    const { ticket, client = 0 } = frame
    const isolation = reader.text()
    const flags = reader.uint()
    const text = beginText(isolation, flags)
    const isReadOnly = (flags & BEGIN_FLAGS.readOnly) !== 0
    // A standby takes no serializable transactions, whether they write or not.
    const mayLeave = isReadOnly && isolation !== 'serializable'
    const { pool, admission } = database.serverFor(mayLeave, client)
    const wrote = () => (isReadOnly ? undefined : database.wrote(client))
    const told = admission.open(sideOf(isReadOnly), limits.correlationId)
    const opened = () => ({ kind: 'transaction' as const, transaction, wrote })
    const transaction = this.transaction(pool, text, limits, told, refuse, () => {
      const handle = this.add(opened(), limits.correlationId)
      this.writes.opened(handle, database)
      answer(REPLIES.OPENED.code, handleBody(handle))
    })
    this.underway.set(ticket, { cancel: () => transaction.close(() => {}) })
    transaction.open()
  }

  private execute(frame: RequestFrame, reader: BodyReader, answer: Answer, refuse: Refuse): void {
    const handle = reader.uint()
    const timeoutMs = reader.uint()
    const correlationId = reader.text()
    const sql = reader.text()
    const paramsAt = reader.at
    const params = toParameters(paramsOf(frame, reader))
    const { transaction } = this.get(handle, 'transaction')
    const statement = transaction.pool.statements.inside(sql)
    this.writes.runs(handle, statement)
    const { name, held } = transaction.pool.spec
    if (held === undefined) this.insight.see(statement, name)
    const resolve = ({ body }: ReadResult) => answer(REPLIES.ROWS.code, body)
    const sent = commented(statement, correlationId)
    const step = { statement: sent, params, correlationId, timeoutMs, resolve, reject: refuse }
    const isRecorded = statement.mark !== undefined
    const task = transaction.run(isRecorded ? recorded(step, frame, paramsAt, statement) : step)
    this.underway.set(frame.ticket, task)
  }

  private commit(ticket: number, handle: number, answer: Answer, refuse: Refuse): void {
    const open = this.handles.get(handle)
    const { cursor, copy, transaction, correlationId } = open
    if (copy?.direction === 'in') throw wrongKind(handle, open)
    this.forget(handle)
    this.writes.ends(ticket, handle)
    const done = () => {
      open.wrote()
      answer(REPLIES.OK.code)
    }
    const failed: Refuse = error => {
      open.wrote()
      refuse(error)
    }
    if (cursor !== undefined) cursor.commit(correlationId, done, failed)
    else if (copy !== undefined) copy.commit(done, failed)
    else transaction.commit(correlationId, done, failed)
  }

  /** Also when it has ended by itself, or never was: closed is closed. */
  private close(ticket: number, handle: number, done: () => void): void {
    const open = this.handles.find(handle)
    this.forget(handle)
    this.writes.ends(ticket, handle)
    if (open === undefined) done()
    else if (open.cursor !== undefined) open.cursor.close(open.correlationId, done)
    else if (open.copy !== undefined) open.copy.close(done)
    else open.transaction.close(done)
  }

  private stream(frame: RequestFrame, reader: BodyReader, answer: Answer, refuse: Refuse): void {
    const outer = reader.uint()
    const { database, limits } = this.opening(reader)
    const { client = 0 } = frame
    const wrote = () => database.wrote(client)
    const { correlationId } = limits
    const sql = reader.text()
    const params = toParameters(paramsOf(frame, reader))
    const within = outer === 0 ? undefined : this.get(outer, 'transaction')
    const server = within === undefined ? database.serverFor(false, client) : undefined
    const pool = (within?.transaction ?? server!).pool
    const statement = pool.statements.inside(sql)
    checkStreamable(statement)
    const declare = (transaction: Transaction, failed: Refuse) => {
      const cursor = new Cursor(transaction, within === undefined)
      const opened = () => {
        const handle = this.add({ kind: 'stream', transaction, cursor, wrote }, correlationId)
        within?.inner.push(handle)
        this.writes.opened(handle, database, statement)
        if (within !== undefined) this.writes.runs(outer, statement)
        answer(REPLIES.OPENED.code, handleBody(handle))
      }
      return cursor.open(statement, params, correlationId, { opened, failed })
    }
    if (within !== undefined)
      return this.underway.set(frame.ticket, declare(within.transaction, refuse))
    const told = server!.admission.open(sideOf(statement.isRead), correlationId)
    const transaction = this.transaction(pool, 'begin', limits, told, refuse, () => {
      declare(transaction, error => transaction.close(() => refuse(error)))
    })
    this.underway.set(frame.ticket, { cancel: () => transaction.close(() => {}) })
    transaction.open()
  }

  private copy(frame: RequestFrame, reader: BodyReader, answer: Answer, refuse: Refuse): void {
    const direction = frame.op === OPS.COPY_IN.code ? 'in' : 'out'
    const { database, limits } = this.opening(reader)
    const { client = 0 } = frame
    const { pool, admission } = database.serverFor(false, client)
    const wrote = () => database.wrote(client)
    const statement = pool.statements.copy(reader.text(), direction)
    const told = admission.open(sideOf(direction === 'out'), limits.correlationId)
    const transaction = this.transaction(pool, 'begin', limits, told, refuse, () => {
      const copy = new Copy(transaction, direction, limits.correlationId)
      const opened = () => {
        const handle = this.add({ kind: 'COPY', transaction, copy, wrote }, limits.correlationId)
        this.writes.opened(handle, database, statement)
        answer(REPLIES.OPENED.code, handleBody(handle))
      }
      copy.open(statement, opened, error => transaction.close(() => refuse(error)))
    })
    this.underway.set(frame.ticket, { cancel: () => transaction.close(() => {}) })
    transaction.open()
  }

  private copyEnd(ticket: number, handle: number, answer: Answer, refuse: Refuse): void {
    const { copy, wrote } = this.get(handle, 'COPY', 'in')
    this.forget(handle)
    this.writes.ends(ticket, handle)
    const done = (rowCount: number) => {
      wrote()
      answer(REPLIES.COUNT.code, handleBody(rowCount))
    }
    copy!.end(done, error => {
      wrote()
      refuse(error)
    })
  }

  private listen(ticket: number, reader: BodyReader, replies: Replies): void {
    const name = reader.text()
    const correlationId = reader.text()
    const { listener } = this.databaseOf(name, correlationId)
    const task = listener.subscribe(reader.text(), {
      listening: () => replies.reply(REPLIES.LISTENING.code, ticket, EMPTY),
      notified: payload => replies.reply(REPLIES.NOTIFICATION.code, ticket, encodeValue(payload)),
      gap: why => {
        const body = Buffer.concat([encodeValue(0), encodeValue(why)])
        replies.reply(REPLIES.GAP.code, ticket, body)
      },
      failed: error => {
        if (this.underway.end(ticket)) replies.fail(ticket, error)
      },
    })
    this.underway.set(ticket, {
      cancel: () => {
        task.cancel()
        if (this.underway.end(ticket)) replies.reply(REPLIES.OK.code, ticket, EMPTY)
      },
    })
  }

  /** A transaction that is not asked for its connection yet; `opened` runs when it has it. The breaker is `told` of either. */
  private transaction(
    pool: Pool,
    begin: string,
    limits: TransactionLimits,
    told: (error?: HearthError) => void,
    refuse: Refuse,
    open: () => void,
  ): Transaction {
    const opened = () => {
      told()
      open()
    }
    const refused: Refuse = error => {
      told(error)
      refuse(error)
    }
    const ended = (reason: HearthError) => {
      // It may end before it has been given a handle: then `refused` has said so.
      for (const [handle, open] of this.handles.entries())
        if (open.transaction === transaction) this.handles.end(handle, reason)
    }
    const transaction = new Transaction(pool, begin, limits, { opened, refused, ended })
    return transaction
  }

  /** The arguments that everything that is opened begins with. */
  private opening(reader: BodyReader): Opening {
    const name = reader.text()
    const timeoutMs = reader.uint()
    const idleTimeoutMs = reader.uint()
    const correlationId = reader.text()
    const database = this.databaseOf(name, correlationId)
    return { database, limits: { timeoutMs, idleTimeoutMs, correlationId } }
  }

  private add(open: Omit<Open, 'inner' | 'correlationId'>, correlationId: string): number {
    return this.handles.open({ ...open, correlationId, inner: [] })
  }

  private get(handle: number, kind: Open['kind'], direction?: 'in' | 'out'): Open {
    const open = this.handles.get(handle)
    const isMeant =
      open.kind === kind && (direction ?? open.copy?.direction) === open.copy?.direction
    if (isMeant) return open
    throw wrongKind(handle, open)
  }

  private forget(handle: number): void {
    const inner = this.handles.find(handle)?.inner ?? []
    this.handles.close(handle)
    for (const each of inner) this.handles.close(each)
  }
}

function wrongKind(handle: number, { kind, correlationId }: Open): HearthError {
  const text = `the handle ${handle} is of a ${kind}, which has no such operation`
  return new HearthError('BAD_REQUEST', text, { correlationId })
}

function sideOf(isRead: boolean): Side {
  return isRead ? 'reads' : 'writes'
}

type Answer = (op: number, body?: Uint8Array) => void

const EMPTY = new Uint8Array(0)

function handleBody(value: number): Uint8Array {
  const body = Buffer.allocUnsafe(SCALAR_BYTES_MAX)
  return body.subarray(0, writeUint(body, 0, value))
}

function paramsOf(frame: RequestFrame, reader: BodyReader): unknown[] {
  const params = decodeValue(frame.bytes, reader.raw(), frame.end)
  if (Array.isArray(params)) return params
  throw new HearthError('BAD_REQUEST', 'params must be an array')
}
