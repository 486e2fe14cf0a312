/** libpq: the types of index.cjs, as far as others than pg-native use it.
 *  Owns: nothing.   Thread: any.   Holds: mirrors its module. */

declare class PQ {
  /** libpq's words in the error. Throws NOT_CONFIGURED from the constructor where there is no libpq. */
  connect(conninfo: string, callback: (error: Error | null) => void): void
  /** Blocks; the result is read by the methods below. */
  exec(text: string): void
  finish(): void
  on(event: 'readable', listener: () => void): this
  errorMessage(): string
  /** Simple protocol: several statements are allowed. */
  sendQuery(sql: string): boolean
  sendQueryParams(sql: string, parameters: readonly (string | null)[]): boolean
  startReader(): void
  stopReader(): void
  consumeInput(): boolean
  isBusy(): boolean
  /** False: the query is over. */
  getResult(): boolean
  resultStatus(): string
  resultErrorMessage(): string
  /** By the names of npm libpq: sqlState, messagePrimary, statementPosition … */
  resultErrorFields(): Record<string, string | undefined>
  cmdStatus(): string
  cmdTuples(): string
  nfields(): number
  ntuples(): number
  fname(column: number): string
  getvalue(row: number, column: number): string
  getisnull(row: number, column: number): boolean
  clear(): void
  /** 0 idle, 1 active, 2 in a transaction, 3 in a failed one, 4 no connection. */
  transactionStatus(): number
  /** True, or why not. */
  cancel(): true | Error
}

export = PQ
