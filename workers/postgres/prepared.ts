/** Prepared: which statements one connection has prepared, least recently used first.
 *  Owns:   the names; the server keeps the plans.   Thread: postgres worker.
 *  Holds:  at most PREPARED_COUNT_MAX, so that the server's memory stays bounded too. */

import { PREPARED_COUNT_MAX } from './database.ts'
import type { Statement } from './statement.ts'

export interface Prepared {
  readonly name: string
}

export class PreparedStatements {
  // A Map keeps the order of insertion; a use moves its entry to the end.
  private readonly entries = new Map<string, Prepared>()
  /** Part of the names once it is not 0: in a transaction what is outdated can neither be used nor given up. */
  private generation = 0

  /** The entry of a statement that is prepared, now the most recently used. */
  use(statement: Statement): Prepared | undefined {
    const entry = this.entries.get(statement.sql)
    if (entry === undefined) return undefined
    this.entries.delete(statement.sql)
    this.entries.set(statement.sql, entry)
    return entry
  }

  /** Under which a statement is to be prepared now. */
  nameOf({ name }: Statement): string {
    return this.generation === 0 ? name : `${name}_${this.generation}`
  }

  add(statement: Statement, name = this.nameOf(statement)): Prepared {
    const entry: Prepared = { name }
    this.entries.set(statement.sql, entry)
    return entry
  }

  forget(statement: Statement): void {
    this.entries.delete(statement.sql)
  }

  /** When another would be one too many: removes the least recently used and answers its name. */
  evict(): string | undefined {
    if (this.entries.size < PREPARED_COUNT_MAX) return undefined
    for (const [sql, { name }] of this.entries) {
      this.entries.delete(sql)
      return name
    }
  }

  /** None of them is used again, though the server still has them until the session is reset. */
  outdate(): void {
    this.generation++
    this.entries.clear()
  }

  clear(): void {
    this.entries.clear()
  }

  get count(): number {
    return this.entries.size
  }
}
