/** Types and small promises around the two CommonJS clients under test: PQ and pg-native.
 *  Owns:   nothing; whoever opens a client closes it.
 *  Thread: main of a test process, or a test's worker.
 *  Holds:  pg-native is the package of node_modules, unchanged, and resolves `libpq` to native-bindings/libpq. */
import type { EventEmitter } from 'node:events'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

export type Parameter = unknown

export interface Pq extends EventEmitter {
  connected?: boolean
  connect(conninfo: string, callback: (error: Error | null) => void): void
  connectSync(conninfo?: string): void
  finish(): void
  errorMessage(): string
  socket(): number
  serverVersion(): number
  transactionStatus(): number
  sslInUse(): boolean
  exec(text?: string): void
  execParams(text: string, parameters?: Parameter[]): void
  prepare(name: string, text: string, parameterCount: number): void
  execPrepared(name: string, parameters?: Parameter[]): void
  describePrepared(name: string): void
  sendQuery(text: string): boolean
  sendQueryParams(text: string, parameters?: Parameter[]): boolean
  sendPrepare(name: string, text: string, parameterCount: number): boolean
  sendQueryPrepared(name: string, parameters?: Parameter[]): boolean
  getResult(): boolean
  resultStatus(): string
  resultErrorMessage(): string
  resultErrorFields(): Record<string, string | undefined> | null
  clear(): void
  ntuples(): number
  nfields(): number
  fname(column: number): string | null
  ftable(column: number): number
  ftablecol(column: number): number
  ftype(column: number): number
  getvalue(row: number, column?: number): string | null
  getisnull(row: number, column: number): boolean
  nparams(): number
  paramtype(parameter: number): number
  cmdStatus(): string
  cmdTuples(): string
  $encodeResult(source: string, maxBytes: number): Buffer | undefined
  startReader(): void
  stopReader(): void
  writable(callback: () => void): Pq
  consumeInput(): boolean
  isBusy(): boolean
  setNonBlocking(isOn: boolean): boolean
  isNonBlocking(): boolean
  flush(): number
  escapeLiteral(text: string): string | null
  escapeIdentifier(text: string): string | null
  notifies(): { relname: string; extra: string; be_pid: number } | undefined
  putCopyData(bytes: Buffer): number
  putCopyEnd(problem?: string): number
  getCopyData(isAsync?: boolean): Buffer | number
  cancel(): true | Error | string
  pipelineModeSupported(): boolean
  enterPipelineMode(): boolean
  exitPipelineMode(): boolean
  pipelineStatus(): number
  pipelineSync(): boolean
  sendFlushRequest(): boolean
}

export interface PqClass {
  new (): Pq
  prototype: Pq
  PIPELINE_OFF: number
  PIPELINE_ON: number
  PIPELINE_ABORTED: number
}

export type Rows = Record<string, unknown>[]

export interface PgNative extends EventEmitter {
  pq: Pq
  connect(conninfo: string, callback: (error: Error | null) => void): void
  query(text: string, callback: (error: Error | undefined, rows: Rows) => void): void
  query(
    text: string,
    values: Parameter[],
    callback: (error: Error | undefined, rows: Rows) => void,
  ): void
  prepare(name: string, text: string, count: number, callback: (error?: Error) => void): void
  execute(
    name: string,
    values: Parameter[],
    callback: (error: Error | undefined, rows: Rows) => void,
  ): void
  connectSync(conninfo: string): void
  querySync(text: string, values?: Parameter[]): Rows
  prepareSync(name: string, text: string, count: number): void
  executeSync(name: string, values: Parameter[]): Rows
  getCopyStream(): NodeJS.ReadWriteStream
  cancel(callback: (error?: Error) => void): void
  escapeLiteral(text: string): string
  end(callback?: () => void): void
}

export const PQ: PqClass = require('libpq')
export const PgNativeClient: (new () => PgNative) & { version: string } = require('pg-native')

export function openPq(url: string): Promise<Pq> {
  const pq = new PQ()
  return new Promise((resolve, reject) =>
    pq.connect(url, error => (error ? reject(error) : resolve(pq))),
  )
}

/** Waits on 'readable' until the answer to what was sent is complete. */
export function answered(pq: Pq): Promise<void> {
  return new Promise((resolve, reject) => {
    const onReadable = () => {
      const isOk = pq.consumeInput()
      if (isOk && pq.isBusy()) return
      pq.removeListener('readable', onReadable)
      pq.stopReader()
      if (isOk) resolve()
      else reject(new Error(pq.errorMessage()))
    }
    pq.on('readable', onReadable)
    pq.startReader()
  })
}

export function openPgNative(url: string): Promise<PgNative> {
  const client = new PgNativeClient()
  return new Promise((resolve, reject) =>
    client.connect(url, error => (error ? reject(error) : resolve(client))),
  )
}

export function query(client: PgNative, text: string, values?: Parameter[]): Promise<Rows> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | undefined, rows: Rows) => (error ? reject(error) : resolve(rows))
    if (values) client.query(text, values, done)
    else client.query(text, done)
  })
}

export function end(client: PgNative): Promise<void> {
  return new Promise(resolve => client.end(() => resolve()))
}
