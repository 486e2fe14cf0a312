/** FloorClock: asks the primary how far it is after writes, so that their clients' next reads may go to a replica.
 *  Owns:   the floors, and the one question that is out.   Not here: the table itself (write_floors.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) a question is sent when the writes it is for are answered, so what it gives is behind all of them.  (2) one is out at
 *          a time, on the connections that the writes use: under load it is one statement for many writes.  (3) no write waits
 *          for it. */

import { monotonicMs } from '../../../engine/clock.ts'
import { readRows } from '../../../engine/protocol/rows.ts'
import type { Replies } from '../../handler.ts'
import { plain } from '../session.ts'
import { jobOf } from '../shared_job.ts'
import type { Statement } from '../statement.ts'
import { WRITTEN } from './observation.ts'
import type { Server } from './server.ts'
import { WriteFloors } from './write_floors.ts'

const ASK_MS_MAX = 2_000
const RETRY_MS = 100

const POSITION: Statement = {
  ...plain(`select ${WRITTEN} as lsn`),
  name: 'h_position',
  isPreparable: true,
  isShort: true,
}
/** An array without elements, as parameters. */
const NO_PARAMS = Buffer.of(0x90)
/** No request of the ring's has it. */
const OWN_TICKET = -1

export class FloorClock {
  readonly floors = new WriteFloors()
  /** The primary was at this position. */
  onPosition: (lsn: number, atMs: number) => void = () => {}
  private readonly primary: () => Server
  private isOut = false
  private timer: NodeJS.Timeout | undefined
  private isClosed = false

  constructor(primary: () => Server) {
    this.primary = primary
  }

  /** Before the answer to a client's write is passed on. */
  wrote(client: number): void {
    this.floors.wrote(client)
    this.askSoon()
  }

  /** What was answered in this turn is asked for together. */
  askSoon(): void {
    if (this.isOut || this.isClosed || !this.floors.isWanted) return
    this.isOut = true
    setImmediate(() => this.ask())
  }

  close(): void {
    this.isClosed = true
    clearTimeout(this.timer)
  }

  private ask(): void {
    const { shared, state } = this.primary()
    if (this.isClosed) return
    if (shared === undefined || state === 'down' || state === 'fenced') return this.failed()
    const nowMs = monotonicMs()
    this.floors.asking()
    const job = jobOf(OWN_TICKET, this.replies, POSITION, 'hearth', nowMs, nowMs + ASK_MS_MAX)
    job.params = NO_PARAMS
    job.paramsEnd = NO_PARAMS.length
    shared.place(job, nowMs)
    shared.flush()
  }

  private readonly replies: Replies = {
    reply: (_op, _ticket, body, start = 0, end = body.length) => {
      const { rows } = readRows(body as Buffer, start, end)
      const lsn = Number(rows[0]?.['lsn'])
      this.isOut = false
      this.floors.answered(lsn)
      this.onPosition(lsn, monotonicMs())
      this.askSoon()
    },
    fail: () => this.failed(),
  }

  private failed(): void {
    this.floors.failed()
    clearTimeout(this.timer)
    this.timer = setTimeout(() => {
      this.isOut = false
      this.askSoon()
    }, RETRY_MS).unref()
  }
}
