/** SessionWrites: what transactions, streams and COPYs write, noted while they last, for who watches writes.
 *  Owns:   nothing; what is noted stands in the WriteWatch.   Not here: what a handle is (session_ops.ts).
 *  Thread: postgres worker.
 *  Holds:  what is not known at once is noted as everything: nothing that is open waits for an analysis. */

import type { Analysis } from './analysis/analysis.ts'
import type { Statement } from './statement.ts'
import type { WriteWatch, Written } from './write_watch.ts'

/** What of a database is asked here. */
export interface Analysed {
  readonly name: string
  readonly analysis: Analysis
}

export class SessionWrites {
  private readonly writes: WriteWatch
  private readonly databases = new Map<number, Analysed>()

  constructor(writes: WriteWatch) {
    this.writes = writes
  }

  /** A handle is given out; `statement`: what it runs from the beginning. */
  opened(handle: number, database: Analysed, statement?: Statement): void {
    if (!this.writes.isOn) return
    this.databases.set(handle, database)
    const written = statement === undefined ? [] : writtenBy(database, statement)
    this.writes.opened(handle, database.name, written)
  }

  /** A statement runs in the transaction of a handle. */
  runs(handle: number, statement: Statement): void {
    const database = this.databases.get(handle)
    if (database !== undefined) this.writes.wrote(handle, writtenBy(database, statement))
  }

  /** The request with this ticket ends what stands behind a handle. */
  ends(ticket: number, handle: number): void {
    if (!this.writes.isOn) return
    this.databases.delete(handle)
    this.writes.ends(ticket, handle)
  }
}

function writtenBy({ analysis }: Analysed, statement: Statement): Written {
  const facts = analysis.of(statement)
  if (facts === undefined) void analysis.find(statement)
  if (facts?.mayChangeSchema === true) analysis.forgetAll()
  return facts?.writes ?? 'everything'
}
