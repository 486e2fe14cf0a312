/** CopyWire: a COPY between us and one server connection, straight over libpq.
 *  Owns:   the connection's libpq object, from begin() until it calls `done`.   Not here: whose bytes they are (copy.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) nothing is read from the socket that nobody asked for, and a write is answered when the kernel has it: both sides
 *          hold each other back.  (2) `done` is called once, when the server is ready for the next statement; a connection that
 *          dies is closed instead, which tells its holder.
 *
 *  pg-native has no COPY that ends well: its own reader does not know the state COPY IN and goes round in it for ever.
 *
 *      starting ──▶ out ──read to the end──▶ ending ──▶ done
 *               └─▶ in ──finish(), abort()──▶ ending           starting, out ──cancel()──▶ draining ──▶ ending */

import type { Libpq } from 'pg-native'
import { COPY_OUT_BYTES } from '../../engine/limits.ts'
import { type Connection, type Outcome, TRANSACTION_STATUS } from './connection.ts'
import type { ErrorFields } from './errors.ts'
import type { ReadResult } from './results.ts'

export type CopyDirection = 'in' | 'out'

export class CopyWire {
  private readonly connection: Connection
  private readonly pq: Libpq
  private readonly direction: CopyDirection
  private readonly begun: () => void
  private readonly done: (outcome: Outcome) => void
  private state: 'starting' | CopyDirection | 'draining' | 'ending' | 'over' = 'starting'
  private isReading = false
  private failure: { fields: ErrorFields; text: string } | undefined
  private rowCount: number | null = null
  private command = ''
  /** Read and not given out: the rest of a piece longer than a chunk. */
  private rest: Buffer | undefined
  private reader: ((chunk: Buffer) => void) | undefined
  private sent: (() => void) | undefined
  /** The end of a COPY IN, while libpq has no room for it. */
  private ending: string | undefined

  constructor(
    connection: Connection,
    direction: CopyDirection,
    begun: () => void,
    done: (outcome: Outcome) => void,
  ) {
    this.connection = connection
    this.pq = connection.driver.pq
    this.direction = direction
    this.begun = begun
    this.done = done
  }

  /** Sends the statement; `begun` is called when the server is ready for the bytes, `done` when it refuses. */
  begin(sql: string): void {
    const { driver } = this.connection
    driver._stopReading()
    this.pq.on('readable', this.readable)
    if (!this.pq.setNonBlocking(true) || !this.pq.sendQueryParams(sql, [])) return this.lose()
    this.listen()
    this.flush()
  }

  /** COPY OUT: the next bytes, valid only during the call; none: that was the end. One read at a time. */
  read(give: (chunk: Buffer) => void): void {
    this.reader = give
    if (this.rest !== undefined) this.giveRest()
    else if (this.state === 'out') this.take()
    else if (this.state === 'over') this.give(EMPTY)
  }

  /** COPY IN: calls back when the connection has taken the bytes, which are read during the call. One write at a time. */
  write(chunk: Buffer, sent: () => void): void {
    if (this.state !== 'in') return sent() // The server has refused already: its words come at the end.
    this.sent = sent
    this.put(chunk)
  }

  /** COPY IN: no more bytes; with `problem` nothing of it is to stand. */
  finish(problem = ''): void {
    if (this.state !== 'in') return
    this.sent?.() // What has not gone out is of no more interest to its giver.
    this.sent = undefined
    this.ending = problem
    this.state = 'ending'
    this.putEnd()
  }

  /** Gives it up, whatever its state: the server's own refusal follows, and `done`. */
  cancel(): void {
    if (this.state === 'in') return this.finish('given up')
    if (this.state !== 'starting' && this.state !== 'out') return
    const isUnderWay = this.state === 'out'
    if (isUnderWay) this.state = 'draining'
    this.connection.cancel(() => {})
    this.listen()
    if (isUnderWay) this.take()
  }

  /** The connection was closed by somebody else, who does not tell: whoever waits for a piece is woken. */
  dropped(): void {
    if (this.state === 'over') return
    this.state = 'over'
    this.pq.removeListener('readable', this.readable)
    this.wakeAll()
  }

  private readonly readable = (): void => {
    if (this.state === 'over') return
    if (!this.pq.consumeInput()) return this.lose()
    // In COPY IN the server speaks only to refuse or to remark; which of them, libpq tells at the end.
    if (this.state === 'out' || this.state === 'draining') this.take()
    else if (this.state !== 'in') this.takeResults()
  }

  private takeResults(): void {
    const { pq } = this
    while (!pq.isBusy()) {
      if (!pq.getResult()) return this.settle()
      const status = pq.resultStatus()
      if (status === 'PGRES_COPY_OUT' || status === 'PGRES_COPY_IN') {
        if (this.state !== 'starting') return this.abandon('the server began a second COPY')
        const direction = status === 'PGRES_COPY_IN' ? 'in' : 'out'
        if (direction !== this.direction) return this.abandon(WRONG_WAY)
        this.state = direction
        if (direction === 'out') this.ignore()
        return this.begun()
      }
      if (status === 'PGRES_FATAL_ERROR') {
        this.failure ??= { fields: pq.resultErrorFields(), text: pq.resultErrorMessage() }
      } else {
        const tuples = pq.cmdTuples()
        this.command = pq.cmdStatus()
        this.rowCount = tuples === '' ? null : Number(tuples)
      }
    }
  }

  /** Gathers what is there already; waits only while there is nothing. */
  private take(): void {
    if (this.reader === undefined && this.state === 'out') return this.ignore()
    let at = 0
    let status = 1
    let isDrained = false
    while (at < scratch.length) {
      const rows = this.pq.$getCopyRows(at === 0 ? scratch : scratch.subarray(at))
      status = rows.status
      if (this.state !== 'draining') {
        at += rows.end
        this.rest = rows.rest
      }
      if (status < 0 || (isDrained && rows.end === 0)) break
      if (status > 0) continue
      // libpq reads a little at a time; the socket may have more.
      isDrained = true
      if (!this.pq.consumeInput()) return this.lose()
    }
    if (status < 0) this.state = 'ending'
    if (status < 0 || at === 0) this.listen()
    else this.ignore()
    if (at > 0) this.give(scratch.subarray(0, at))
    if (status < 0) this.takeResults()
  }

  private give(bytes: Buffer): void {
    const { reader } = this
    this.reader = undefined
    reader?.(bytes)
  }

  /** Of a row that is longer than a chunk. */
  private giveRest(): void {
    const rest = this.rest!
    this.rest = rest.length > scratch.length ? rest.subarray(scratch.length) : undefined
    this.give(rest.subarray(0, scratch.length))
  }

  private put(chunk: Buffer): void {
    if (this.state !== 'in') return
    const taken = this.pq.putCopyData(chunk)
    if (taken === 0) {
      const kept = Buffer.from(chunk)
      this.pq.writable(() => this.put(kept))
    } else if (taken < 0) this.lose()
    else this.flush()
  }

  private putEnd(): void {
    if (this.state !== 'ending') return
    const taken = this.pq.putCopyEnd(this.ending === '' ? undefined : this.ending)
    if (taken === 0) this.pq.writable(() => this.putEnd())
    else if (taken < 0) this.lose()
    else this.flush()
  }

  private flush(): void {
    if (this.state === 'over') return
    const left = this.pq.flush()
    if (left < 0) return this.lose()
    if (left > 0) {
      this.pq.writable(() => this.flush())
      return
    }
    const { sent } = this
    this.sent = undefined
    sent?.()
  }

  private listen(): void {
    if (this.isReading || this.state === 'over') return
    this.isReading = true
    this.pq.startReader()
  }

  private ignore(): void {
    if (!this.isReading) return
    this.isReading = false
    this.pq.stopReader()
  }

  private settle(): void {
    if (this.state === 'starting') this.failure ??= { fields: {}, text: WRONG_WAY }
    const { failure, rowCount, command } = this
    // libpq itself has given the connection up: this was no word of the server's.
    const isGone = this.pq.transactionStatus() === TRANSACTION_STATUS.unknown
    if (failure !== undefined && isGone) return this.abandon(failure.text)
    this.leave()
    if (failure !== undefined) this.done({ kind: 'refused', ...failure })
    else this.done({ kind: 'result', result: { rowCount, command } as ReadResult })
    this.wakeAll()
  }

  private leave(): void {
    this.ignore()
    this.state = 'over'
    this.pq.removeListener('readable', this.readable)
    this.pq.clear()
  }

  /** Where nothing but the end of the connection ends it. */
  private abandon(why: string): void {
    if (this.state === 'over') return
    this.leave()
    this.connection.close(why)
    this.wakeAll()
  }

  /** Whoever waits for a piece to go or to come; what became of the whole they have been told. */
  private wakeAll(): void {
    const { sent } = this
    this.sent = undefined
    sent?.()
    if (this.rest === undefined) this.give(EMPTY)
  }

  private lose(): void {
    this.abandon(this.pq.errorMessage() || 'the server closed the connection')
  }
}

const EMPTY = Buffer.alloc(0)
/** Where a chunk is put together, for all COPYs of this thread: whoever is given one copies it at once. */
const scratch = Buffer.allocUnsafeSlow(COPY_OUT_BYTES)
const WRONG_WAY =
  'copyFrom() takes COPY … FROM STDIN, and copyTo() takes COPY … TO STDOUT; this was neither'
