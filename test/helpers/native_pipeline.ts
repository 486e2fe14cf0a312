/** Pipelines under test: answers as promises, bodies decoded by msgpackr, everything that was told kept in order.
 *  Owns:   the thread's output and answers, which all its pipelines share; the pipelines of the running test.
 *  Thread: main of a test process, or a test's worker.
 *  Holds:  nothing. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { pack, Unpackr } from 'msgpackr'
import { libpqInfo } from '../../native-bindings/index.ts'
import {
  ANSWER,
  ANSWER_WORDS,
  Pipeline,
  type PipelineOptions,
  SEND,
} from '../../native-bindings/pipeline.ts'
import './newest_libpq.ts'

export const HAS_RELEASE_17 = libpqInfo()!.features.pipelineSend
const unpackr = new Unpackr({ useRecords: false })

export interface Rows {
  readonly kind: 'rows'
  readonly source: string
  /** [name, oid, name, oid, …] */
  readonly shape: unknown[]
  readonly command: string
  readonly rowCount: number | null
  readonly values: unknown[]
  readonly isLarge: boolean
}

export interface Refused {
  readonly kind: 'refused'
  readonly sqlState: string | null
  readonly message: string
  readonly detail: string | null
  readonly hint: string | null
  readonly position: number | null
  readonly severity: string
}

export type Answer = Rows | Refused | { readonly kind: 'too large' | 'aborted' | 'lost' }

export interface TestPipelineOptions extends PipelineOptions {
  outputBytes?: number
  answerCount?: number
  /** Runs inside each onAnswers(), after the answers were taken. */
  onAnswers?: (told: number) => void
}

export class TestPipeline {
  readonly pipeline: Pipeline
  /** Ids in the order of their answers. */
  readonly order: number[] = []
  /** How many answers each onAnswers() brought. */
  readonly batches: number[] = []
  connects: (string | undefined)[] = []
  lost: [problem: string, sqlState: string][] = []
  private readonly waiting = new Map<number, (answer: Answer) => void>()
  private readonly wakers: (() => void)[] = []
  private nextId = 1

  constructor(options: TestPipelineOptions = {}) {
    const { outputBytes = 65_536, answerCount = 1_024 } = options
    const output = Buffer.alloc(outputBytes)
    const answers = new Int32Array(answerCount * ANSWER_WORDS)
    this.pipeline = new Pipeline(
      output,
      answers,
      {
        onConnected: problem => this.note(() => this.connects.push(problem)),
        onAnswers: count => {
          this.batches.push(count)
          for (let at = 0; at < count * ANSWER_WORDS; at += ANSWER_WORDS) {
            const [id, kind, start, end] = answers.subarray(at, at + ANSWER_WORDS)
            this.take(id!, read(kind!, Buffer.from(output.subarray(start, end))))
          }
          options.onAnswers?.(count)
          this.note(() => {})
        },
        onLarge: (id, body) => this.take(id, { ...readRows(body), isLarge: true }),
        onLost: (problem, sqlState) => {
          for (const tell of this.waiting.values()) tell({ kind: 'lost' })
          this.waiting.clear()
          this.note(() => this.lost.push([problem, sqlState]))
        },
      },
      'primary',
      options,
    )
  }

  /** Resolves with the problem, or undefined. */
  async connect(conninfo: string): Promise<string | undefined> {
    const before = this.connects.length
    this.pipeline.connect(conninfo)
    await this.until(() => this.connects.length > before)
    return this.connects[before]
  }

  run(sql: string): Promise<Answer> {
    return this.sent(id => this.pipeline.run(id, sql))
  }

  /** With parameters as msgpack. */
  execute(slot: number, params: unknown[] = []): Promise<Answer> {
    const bytes = pack(params)
    return this.sent(id => this.pipeline.execute(slot, id, bytes, 0, bytes.length))
  }

  executeValues(slot: number, values: unknown[]): Promise<Answer> {
    return this.sent(id => this.pipeline.executeValues(slot, id, values))
  }

  /** Of one row with one column. */
  async value(sql: string): Promise<unknown> {
    return rowsOf(await this.run(sql)).values[0]
  }

  /** One request; it goes out at the end of this turn. */
  sent(send: (id: number) => number): Promise<Answer> {
    const id = this.nextId++
    const status = send(id)
    assert.equal(status, SEND.DONE, `send said ${status}`)
    setImmediate(() => this.pipeline.flush())
    return new Promise(resolve => this.waiting.set(id, resolve))
  }

  cancel(): Promise<string | undefined> {
    return new Promise(resolve => this.pipeline.cancel(resolve))
  }

  async until(check: () => boolean): Promise<void> {
    while (!check()) await new Promise<void>(resolve => this.wakers.push(resolve))
  }

  private take(id: number, answer: Answer): void {
    this.order.push(id)
    const tell = this.waiting.get(id)
    assert.ok(tell, `${id} was answered twice, or never asked`)
    this.waiting.delete(id)
    tell(answer)
  }

  private note(change: () => void): void {
    change()
    for (const wake of this.wakers.splice(0)) wake()
  }
}

/** An open one, finished when the test is over. */
export async function openPipeline(
  t: TestContext,
  url: string,
  options?: TestPipelineOptions,
): Promise<TestPipeline> {
  const opened = new TestPipeline(options)
  t.after(() => opened.pipeline.finish())
  assert.equal(await opened.connect(url), undefined)
  return opened
}

export function rowsOf(answer: Answer): Rows {
  assert.equal(answer.kind, 'rows', JSON.stringify(answer))
  return answer as Rows
}

export function refusedOf(answer: Answer): Refused {
  assert.equal(answer.kind, 'refused', JSON.stringify(answer))
  return answer as Refused
}

function read(kind: number, body: Buffer): Answer {
  if (kind === ANSWER.ROWS) return { ...readRows(body), isLarge: false }
  assert.ok(kind === ANSWER.REFUSED || body.length === 0)
  if (kind === ANSWER.TOO_LARGE) return { kind: 'too large' }
  if (kind === ANSWER.ABORTED) return { kind: 'aborted' }
  assert.equal(kind, ANSWER.REFUSED)
  const [sqlState, message, detail, hint, position, severity] = unpackr.unpack(body)
  return { kind: 'refused', sqlState, message, detail, hint, position, severity }
}

function readRows(body: Buffer): Omit<Rows, 'isLarge'> {
  const [source, shape, command, rowCount, values] = unpackr.unpackMultiple(body) as [
    string,
    Buffer,
    string,
    number | null,
    unknown[],
  ]
  return { kind: 'rows', source, shape: unpackr.unpack(shape), command, rowCount, values }
}
