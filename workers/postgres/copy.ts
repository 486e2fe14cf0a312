/** Copy: one COPY of a client's, in a transaction of its own: all of it stands, or nothing.
 *  Owns:   the pieces that wait to be written or read.   Not here: libpq (copy_wire.ts), the handle (session_ops.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) at most PIECE_COUNT_MAX pieces of a client are here at a time.  (2) what was written stands only after end():
 *          a client that goes away, an error of its own or the server's leaves nothing.
 *          (3) the server's statement timeout is lifted: a COPY lasts as long as its client gives or takes. */

import { HearthError } from '../../engine/errors.ts'
import type { Outcome } from './connection.ts'
import { type CopyDirection, CopyWire } from './copy_wire.ts'
import { endedError } from './errors.ts'
import type { Member } from './lists.ts'
import type { Answered } from './pool.ts'
import { plain } from './session.ts'
import { commented, type Statement } from './statement.ts'
import type { Transaction } from './transaction.ts'

/** Pieces of one COPY that may be on their way, each of COPY_CHUNK_BYTES_MAX at most. */
const PIECE_COUNT_MAX = 8

const NO_TIMEOUT = plain('set local statement_timeout = 0')

type Fail = (error: HearthError) => void

interface Piece {
  readonly bytes: Buffer
  readonly resolve: () => void
  readonly reject: Fail
}

interface Reading {
  readonly resolve: (chunk: Buffer) => void
  readonly reject: Fail
}

export class Copy {
  readonly direction: CopyDirection
  private readonly transaction: Transaction
  private readonly correlationId: string
  private wire: CopyWire | undefined
  private readonly pieces: Piece[] = []
  private readonly readings: Reading[] = []
  private isMoving = false
  private result: { rowCount: number | null } | HearthError | undefined
  private onOver: (() => void) | undefined

  constructor(transaction: Transaction, direction: CopyDirection, correlationId: string) {
    this.transaction = transaction
    this.direction = direction
    this.correlationId = correlationId
  }

  /** Begins it; `opened` when bytes may come or go. */
  open(statement: Statement, opened: () => void, failed: Fail): void {
    const { transaction, correlationId } = this
    const own = { params: [], correlationId, timeoutMs: 0 }
    transaction.run({ ...own, statement: NO_TIMEOUT, resolve: () => undefined, reject: failed })
    let isOpen = false
    transaction.run({
      ...own,
      statement,
      perform: (member, answered) =>
        this.perform(commented(statement, correlationId).sql, member, answered, () => {
          isOpen = true
          this.transaction.waitsFor('client')
          opened()
        }),
      stop: member => {
        member.wasCancelled = true
        this.wire?.cancel()
      },
      resolve: ({ rowCount }) => this.over({ rowCount }),
      reject: error => {
        if (!isOpen) failed(error)
        this.over(error)
        this.wire?.dropped()
      },
    })
  }

  /** Bytes for the server, valid only during the call. */
  write(bytes: Buffer, resolve: () => void, reject: Fail): void {
    if (this.result !== undefined) return reject(this.refusal())
    if (this.pieces.length >= PIECE_COUNT_MAX) {
      const text = `a COPY takes ${PIECE_COUNT_MAX} pieces at a time: wait for the answer of the one before`
      return reject(new HearthError('BUSY', text, { correlationId: this.correlationId }))
    }
    // The first goes to libpq now, which copies it; others wait.
    this.pieces.push({ bytes: this.isMoving ? Buffer.from(bytes) : bytes, resolve, reject })
    if (!this.isMoving) this.writeNext()
  }

  /** All was written: commits, and gives the count of rows. */
  end(resolve: (rowCount: number) => void, reject: Fail): void {
    this.onOver = () => {
      const { result, transaction, correlationId } = this
      if (result === undefined || result instanceof HearthError) {
        return transaction.close(() => reject(result ?? endedError(correlationId)))
      }
      transaction.commit(correlationId, () => resolve(result.rowCount ?? 0), reject)
    }
    if (this.result !== undefined) this.onOver()
    else if (this.pieces.length === 0) this.finish()
  }

  /** Bytes of the server, valid only during the call; none: that was the end. */
  read(resolve: (chunk: Buffer) => void, reject: Fail): void {
    if (this.readings.length >= PIECE_COUNT_MAX) {
      const text = `a COPY gives ${PIECE_COUNT_MAX} pieces at a time: wait for the answer of the one before`
      return reject(new HearthError('BUSY', text, { correlationId: this.correlationId }))
    }
    this.readings.push({ resolve, reject })
    if (!this.isMoving) this.readNext()
  }

  /** COPY OUT, read to its end: what it did stands, for a COPY (INSERT … RETURNING …) TO writes. */
  commit(resolve: () => void, reject: Fail): void {
    this.transaction.commit(this.correlationId, resolve, reject)
  }

  /** Gives it up; calls back when the server is done with it. */
  close(done: () => void): void {
    this.transaction.close(done)
  }

  private perform(sql: string, member: Member, answered: Answered, begun: () => void): void {
    const done = (outcome: Outcome) => {
      this.transaction.waitsFor('client')
      answered(outcome, false)
    }
    this.wire = new CopyWire(member.connection, this.direction, begun, done)
    this.wire.begin(sql)
  }

  private writeNext(): void {
    const piece = this.pieces[0]
    if (this.result !== undefined) {
      for (const each of this.pieces.splice(0)) each.reject(this.refusal())
      return
    }
    if (piece === undefined) {
      if (this.onOver !== undefined) this.finish()
      else this.transaction.waitsFor('client')
      return
    }
    this.isMoving = true
    this.transaction.waitsFor('server')
    this.wire!.write(piece.bytes, () => {
      this.isMoving = false
      this.pieces.shift()
      if (this.result === undefined) piece.resolve()
      else piece.reject(this.refusal())
      this.writeNext()
    })
  }

  private finish(): void {
    this.transaction.waitsFor('server')
    this.wire!.finish()
  }

  private readNext(): void {
    const reading = this.readings[0]
    if (reading === undefined) return this.transaction.waitsFor('client')
    this.isMoving = true
    this.transaction.waitsFor('server')
    this.wire!.read(chunk => {
      this.isMoving = false
      this.readings.shift()
      if (chunk.length === 0 && this.result instanceof HearthError) reading.reject(this.result)
      else reading.resolve(chunk)
      this.readNext()
    })
  }

  /** The server has said what became of it. */
  private over(result: { rowCount: number | null } | HearthError): void {
    this.result = result
    this.onOver?.()
  }

  private refusal(): HearthError {
    return this.result instanceof HearthError ? this.result : endedError(this.correlationId)
  }
}
