/** A worker thread for the pipeline tests: loads pipelines as it is told by `workerData.job`.
 *  Owns:   the pipelines it opens; `pipeline busy` and `pipeline connecting` are meant to be terminated with them open.
 *  Thread: a worker.
 *  Holds:  posts one message when it has got going ('ready') and one with its result. */
import { parentPort, workerData } from 'node:worker_threads'
import { rowsOf, TestPipeline } from './native_pipeline.ts'

export interface PipelineJob {
  readonly job: 'pipeline sum' | 'pipeline busy' | 'pipeline connecting' | 'pipeline cancelling'
  readonly url: string
  readonly count: number
}

const { job, url, count } = workerData as PipelineJob

async function open(): Promise<TestPipeline> {
  const opened = new TestPipeline()
  const problem = await opened.connect(url)
  if (problem !== undefined) throw new Error(problem)
  opened.pipeline.define(0, 'sum', 'select $1::int + $2::int')
  opened.pipeline.define(1, 'much', 'select repeat($1::text, 100000), pg_sleep(0.001)')
  return opened
}

/** `count` pipelines with two hundred requests in flight each; answers the sum of all. */
async function sum(): Promise<void> {
  const all = await Promise.all(Array.from({ length: count }, open))
  parentPort!.postMessage('ready')
  let total = 0
  for (let round = 0; round < 5; round++) {
    const answers = await Promise.all(
      all.flatMap((opened, at) =>
        Array.from({ length: 200 }, (_, i) => opened.execute(0, [i, at])),
      ),
    )
    for (const answer of answers) total += rowsOf(answer).values[0] as number
  }
  for (const { pipeline } of all) pipeline.finish()
  parentPort!.postMessage(total)
}

/** Requests of every kind, connects and cancellations without end, at every moment some of each in flight. */
async function busy(): Promise<void> {
  const all = await Promise.all(Array.from({ length: count }, open))
  const again = (opened: TestPipeline, round: number): void => {
    const answers = [
      opened.execute(0, [round, 1]),
      opened.execute(1, ['x']),
      opened.run('select 1'),
    ]
    opened.pipeline.define(2 + (round % 8), `s${round % 8}`, 'select now()')
    answers.push(opened.execute(2 + (round % 8), []))
    opened.pipeline.forget(2 + (round % 8))
    if (round % 5 === 0) opened.pipeline.cancel(() => {})
    void Promise.all(answers).then(() => again(opened, round + 1))
  }
  for (const opened of all) again(opened, 0)
  const reconnect = async (): Promise<void> => {
    const opened = new TestPipeline()
    await opened.connect(url)
    void opened.run('select pg_sleep(1)')
    opened.pipeline.flush()
    setImmediate(() => opened.pipeline.finish())
    setImmediate(reconnect)
  }
  void reconnect()
  const idle = await open()
  const cancel = (): void => idle.pipeline.cancel(() => setImmediate(cancel))
  cancel()
  const asleep = await open()
  for (let i = 0; i < 50; i++) void asleep.run('select pg_sleep(30)')
  parentPort!.postMessage('ready')
}

/** Attempts that nobody answers, in the middle of libpq's state machine. */
function connecting(): void {
  for (let i = 0; i < count; i++) new TestPipeline().pipeline.connect(url)
  parentPort!.postMessage('ready')
}

/** A cancellation that nobody answers. */
async function cancelling(): Promise<void> {
  const opened = await open()
  opened.pipeline.cancel(() => {})
  parentPort!.postMessage('ready')
}

if (job === 'pipeline sum') await sum()
else if (job === 'pipeline busy') await busy()
else if (job === 'pipeline cancelling') await cancelling()
else connecting()
