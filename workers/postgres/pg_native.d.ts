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
    setNonBlocking(isOn: boolean): boolean
    sendQueryParams(sql: string, params: Parameter[]): boolean
    /** 0: all is out, 1: not all, -1: an error. */
    flush(): number
    writable(done: () => void): void
    on(event: 'readable', listener: () => void): void
    removeListener(event: 'readable', listener: () => void): void
    startReader(): void
    stopReader(): void
    consumeInput(): boolean
    isBusy(): boolean
    getResult(): boolean
    resultStatus(): string
    resultErrorMessage(): string
    /** 1: taken, 0: no room now, -1: an error. */
    putCopyData(bytes: Buffer): number
    putCopyEnd(problem?: string): number
    /** Fills the target with the rows that are here: up to `end`, with what of the last one did not fit. Status 0: no more yet,
     *  -1: done, -2: an error, else there may be more. */
    $getCopyRows(target: Buffer): { end: number; status: number; rest?: Buffer }
    /** The last result as the body of a ROWS reply; undefined when it has more bytes. Throws when memory is out. */
    $encodeResult(source: string, maxBytes: number): Buffer | undefined
  }

  export type Parameter = string | Buffer | null
  /** An error of `flush` comes as a string. */
  export type Callback<Result> = (
    error: Error | string | undefined,
    rows?: unknown,
    result?: Result,
  ) => void

  export interface Notification {
    readonly relname: string
    readonly extra: string
    readonly be_pid: number
  }

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
    _consumeQueryResults(pq: Libpq): Result
    _stopReading(): void
    /** Set once an error result has come and the query is not over yet. */
    _queryError: Error | undefined
  }
}
