/** pipeline: a libpq connection that many requests share, each a statement of its own, typed.
 *  Owns:   the two phases of connecting: names looked up by node's resolver, then libpq polled.   Not here: the rest (src/pipeline*.c).
 *  Thread: any; output and answers are shared by the pipelines of one thread only.
 *  Holds:  (1) nothing is told from within a call: events come from the loop alone.  (2) connect() ends in one onConnected(),
 *          unless finish() comes first. */
import { HearthError } from '../engine/errors.ts'
import { requireLibpq } from './index.ts'
import { type Conninfo, type HostLists, hostsToResolve, resolveHosts } from './libpq/resolve.cjs'
import load from './load.cjs'

export { ANSWER, ANSWER_WORDS, SEND } from './pipeline_words.ts'

export const STATEMENT_COUNT_MAX = 1_024
export const PENDING_COUNT_MAX = 65_536
/** What fits a reply frame (16 MiB) with its header. */
export const BODY_BYTES_MAX = 2 ** 24 - 1 - 16

export interface PipelineEvents {
  /** The end of connect(): undefined when the pipeline is open, else libpq's words. */
  onConnected(problem: string | undefined): void
  /** `count` answers stand in `answers` and their bodies in `output`, to be taken before it returns. Once for each readable
   *  event of the socket, more often only when one of the two is full. */
  onAnswers(count: number): void
  /** ROWS that do not fit into `output`, in order with the others. */
  onLarge(id: number, body: Buffer): void
  /** The connection is gone, and with it whatever is pending. `sqlState` is '' when the server said none;
   *  with one, the server has read nothing behind the oldest. The youngest `unsentCount` never left this process.
   *  `isOldestUndone`: the server said goodbye instead of answering the oldest, of which nothing stands, if it is autocommit. */
  onLost(problem: string, sqlState: string, unsentCount: number, isOldestUndone: boolean): void
}

export interface PipelineOptions {
  /** Of a ROWS body. */
  maxBytes?: number
}

/** The class in C: what is not underlined with $ is as Pipeline's users see it. */
export interface NativePipeline {
  /** Sent and not answered yet, closings of forget() among them. */
  readonly pending: number
  /** Declares prepared statement `slot` (below STATEMENT_COUNT_MAX) by its name at the server (1 to 63 bytes) and its text.
   *  Nothing is sent: Parse goes with its first execution. RangeError when the slot is taken. */
  define(slot: number, name: string, sql: string): void
  /** Empties the slot, and closes the statement at the server if it may be there (goes with the next flush()). The slot and
   *  the name may be defined anew at once; executions that are out are answered all the same. */
  forget(slot: number): void
  /** Executes the slot's statement with the parameters that stand as one msgpack array in bytes[start, end). Ids are int32.
   *  The group ends with its own sync: what it did is committed when it is answered. A Parse that fails is this request's
   *  error; executions behind it are refused with 26000, and the next one prepares again. */
  execute(slot: number, id: number, bytes: Uint8Array, start: number, end: number): number
  /** The same with values: null is NULL, a Uint8Array goes as binary, all else as text. TypeError for text with a NUL. */
  executeValues(slot: number, id: number, values: readonly unknown[]): number
  /** One statement without parameters that is not prepared: for setup and pings. Never COPY: that ends the connection. */
  run(id: number, sql: string): number
  /** Sends what has gathered: once a tick. What the socket does not take goes by itself. */
  flush(): void
  /** As libpq has it: 0 idle, 1 active, 2 in a transaction, 3 in a failed one, 4 not connected. */
  transactionStatus(): number
  backendPid(): number
  $connect(
    conninfo: string,
    host?: string,
    hostaddr?: string,
    port?: string,
  ): string | null | undefined
  $conninfo(conninfo: string): Conninfo | string
  $cancel(onSent: (problem?: string) => void): string | undefined
  $finish(): void
}

export type NativePipelineClass = new (
  output: Uint8Array,
  answers: Int32Array,
  source: string,
  maxBytes: number,
) => NativePipeline

const native = load.loadNative(import.meta.dirname)

interface Attempt {
  timer: NodeJS.Timeout | undefined
}

export class Pipeline extends native.Pipeline {
  declare readonly $onAnswers: PipelineEvents['onAnswers']
  declare readonly $onLarge: PipelineEvents['onLarge']
  declare readonly $onLost: PipelineEvents['onLost']
  private readonly onConnected: PipelineEvents['onConnected']
  private attempt: Attempt | undefined

  /** `output` (4096 bytes or more, e.g. 64 KiB) and `answers` are the thread's, shared by all its pipelines; neither may be
   *  transferred. `source` opens each ROWS body. Throws NOT_CONFIGURED without libpq 14 or later. */
  constructor(
    output: Uint8Array,
    answers: Int32Array,
    events: PipelineEvents,
    source: string,
    options: PipelineOptions = {},
  ) {
    if (!requireLibpq().features.pipeline)
      throw new HearthError('NOT_CONFIGURED', 'shared connections need libpq 14 or later')
    super(output, answers, source, options.maxBytes ?? BODY_BYTES_MAX)
    this.onConnected = events.onConnected
    this.$onAnswers = events.onAnswers
    this.$onLarge = events.onLarge
    this.$onLost = events.onLost
  }

  /** Connects without blocking. `connect_timeout` bounds the whole, all hosts together. */
  connect(conninfo: string): void {
    this.finish()
    const attempt: Attempt = { timer: undefined }
    this.attempt = attempt
    const known = this.$conninfo(conninfo)
    if (typeof known === 'string') return this.settleSoon(attempt, known)
    const seconds = Number.parseInt(known.connectTimeout ?? '', 10)
    if (seconds > 0)
      attempt.timer = setTimeout(() => this.expire(attempt, seconds), seconds * 1_000)
    const hosts = hostsToResolve(known)
    if (hosts === undefined) return this.begin(attempt, conninfo)
    resolveHosts(hosts, (error, lists) => {
      if (this.attempt !== attempt) return
      if (error) this.settle(attempt, error.message)
      else this.begin(attempt, conninfo, lists)
    })
  }

  /** Asks the server to cancel what it runs for this connection when the request arrives, whatever that is by then. Calls back
   *  once: undefined when the server has the request, within 2 s. Blocks for a round trip before libpq 17. */
  cancel(onSent: (problem: string | undefined) => void): void {
    const problem = this.$cancel(onSent)
    if (problem !== undefined) setImmediate(onSent, problem)
  }

  /** Closes at once. Nothing is told any more of what was out; connect() may follow. */
  finish(): void {
    clearTimeout(this.attempt?.timer)
    this.attempt = undefined
    this.$finish()
  }

  /** Called by the binding when the attempt is over. */
  $onConnected(problem: string | undefined): void {
    if (this.attempt !== undefined) this.settle(this.attempt, problem)
  }

  private begin(attempt: Attempt, conninfo: string, lists?: HostLists): void {
    const problem = this.$connect(conninfo, lists?.host, lists?.hostaddr, lists?.port)
    if (typeof problem === 'string') this.settleSoon(attempt, problem)
  }

  private expire(attempt: Attempt, seconds: number): void {
    this.$finish()
    this.settle(attempt, `timeout expired: no connection within connect_timeout=${seconds} s`)
  }

  private settleSoon(attempt: Attempt, problem: string): void {
    setImmediate(() => this.settle(attempt, problem))
  }

  private settle(attempt: Attempt, problem: string | undefined): void {
    if (this.attempt !== attempt) return
    this.attempt = undefined
    clearTimeout(attempt.timer)
    this.onConnected(problem)
  }
}
