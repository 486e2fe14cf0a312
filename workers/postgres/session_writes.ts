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
  /** Handles whose end may change what names mean. */
  private readonly changing = new Set<number>()

  constructor(writes: WriteWatch) {
    this.writes = writes
  }

  /** A handle is given out; `statement`: what it runs from the beginning. */
  opened(handle: number, database: Analysed, statement?: Statement): void {
    this.databases.set(handle, database)
    // Before anybody watches nothing is looked into.
    if (!this.writes.isOn) return void this.changing.add(handle)
    const written = statement === undefined ? [] : this.writtenBy(handle, database, statement)
    this.writes.opened(handle, database.name, written)
  }

  /** A statement runs in the transaction of a handle. */
  runs(handle: number, statement: Statement): void {
    const database = this.databases.get(handle)
    if (database === undefined || !this.writes.isOn) return
    this.writes.wrote(handle, this.writtenBy(handle, database, statement))
  }

  /** The request with this ticket ends what stands behind a handle. */
  ends(ticket: number, handle: number): void {
    const database = this.databases.get(handle)
    const isChanging = this.changing.delete(handle)
    this.databases.delete(handle)
    if (!this.writes.isOn) return
    this.writes.ends(ticket, handle)
    // Until now others were told by the server what names meant before: a new body of a function locks nobody out.
    if (isChanging) this.writes.after(ticket, () => database?.analysis.forgetAll())
  }

  private writtenBy(handle: number, { analysis }: Analysed, statement: Statement): Written {
    const facts = analysis.of(statement)
    if (facts === undefined) void analysis.find(statement)
    if (facts?.mayChangeSchema === true) {
      analysis.forgetAll()
      this.changing.add(handle)
    }
    return facts?.writes ?? 'everything'
  }
}
