/** What connection.ts uses of pg-native 3.9.0 and of the libpq object below it; neither ships types. */
declare module 'pg-native' {
  import type { EventEmitter } from 'node:events'

  export interface Libpq {
    transactionStatus(): number
    resultErrorFields(): Record<string, string | undefined>
    errorMessage(): string
    cmdStatus(): string
    cmdTuples(): string
    nfields(): number
    ntuples(): number
    fname(column: number): string
    ftype(column: number): number
    getvalue(row: number, column: number): string
    getisnull(row: number, column: number): boolean
    clear(): void
  }

  export type Parameter = string | Buffer | null
  /** An error of `flush` comes as a string. */
  export type Callback<Result> = (
    error: Error | string | undefined,
    rows?: unknown,
    result?: Result,
  ) => void

  export default class Client<Result = unknown> extends EventEmitter {
    readonly pq: Libpq
    constructor(config?: { arrayMode?: boolean })
    connect(conninfo: string, done: (error?: Error | string) => void): void
    query(sql: string, params: Parameter[], done: Callback<Result>): void
    prepare(name: string, sql: string, paramCount: number, done: Callback<Result>): void
    execute(name: string, params: Parameter[], done: Callback<Result>): void
    cancel(done: (error?: Error) => void): void
    end(done?: () => void): void
    /** Reads PGresult into what the callbacks get; replaced by results.ts. */
    _consumeQueryResults(pq: Libpq): Result & { rows: unknown }
    /** Set once an error result has come and the query is not over yet. */
    _queryError: Error | undefined
  }
}
