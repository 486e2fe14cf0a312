/** libpq: the types of index.cjs, as far as others than pg-native use it.
 *  Owns: nothing.   Thread: any.   Holds: mirrors src/pq_*.c. */

declare class PQ {
  /** libpq's words in the error. Throws NOT_CONFIGURED from the constructor where there is no libpq. */
  connect(conninfo: string, callback: (error: Error | null) => void): void
  /** Blocks; the result is read by the methods below. */
  exec(text: string): void
  ntuples(): number
  getvalue(row: number, column: number): string
  resultErrorMessage(): string
  finish(): void
}

export = PQ
