/** lane_dial: opens a lane: a Pipeline on the process's libpq, with a session set up as ours are.
 *  Owns:   the memory that all pipelines of this thread write their answers to.   Not here: when, and how often (dial.ts).
 *  Thread: postgres worker.
 *  Holds:  a lane that is given out has answered its first statement. */

import { monotonicMs } from '../../engine/clock.ts'
import type { Pipeline, PipelineEvents } from '../../native-bindings/pipeline.ts'
import { ANSWER_WORDS } from '../../native-bindings/pipeline_words.ts'
import { type Origin, type PoolSpec, PRIMARY, RESULT_BYTES_MAX } from './database.ts'
import { CONNECT_MS_MAX } from './dial.ts'
import { notConfiguredError } from './errors.ts'
import { Lane } from './lane.ts'
import type { PreparedCounts } from './pool_figures.ts'
import { setupStatement, withDefaults } from './session.ts'

/** Results of one readable event, encoded; a larger one has a buffer of its own. */
const OUTPUT_BYTES = 64 * 1024
const ANSWER_COUNT_MAX = 256

let output: Buffer | undefined
let answers: Int32Array | undefined

/** Rejects with the reason, in libpq's or the server's words. */
export async function openLane(spec: PoolSpec, counts: PreparedCounts): Promise<Lane> {
  const { pipeline, lane, connected } = await createLane(counts, spec.origin ?? PRIMARY)
  const timer = setTimeout(() => {
    lane.close(`no connection within ${CONNECT_MS_MAX} ms`)
  }, CONNECT_MS_MAX)
  try {
    pipeline.connect(withDefaults(spec.url, CONNECT_MS_MAX))
    await connected
    const { sql } = setupStatement(spec)
    const problem = await lane.run(sql, monotonicMs())
    if (problem !== undefined) throw new Error(problem)
    return lane
  } catch (error) {
    lane.close((error as Error).message)
    throw error
  } finally {
    clearTimeout(timer)
  }
}

async function createLane(counts: PreparedCounts, { source }: Origin) {
  const driver = await loadDriver()
  const connected = Promise.withResolvers<void>()
  output ??= Buffer.allocUnsafeSlow(OUTPUT_BYTES)
  answers ??= new Int32Array(ANSWER_COUNT_MAX * ANSWER_WORDS)
  const events: PipelineEvents = {
    onConnected: problem => {
      if (problem === undefined) connected.resolve()
      else connected.reject(new Error(problem))
    },
    onAnswers: count => lane.take(count, answers!, output!),
    onLarge: (id, body) => lane.takeLarge(id, body),
    onLost: (problem, sqlState, unsent, isUndone) => lane.lose(problem, sqlState, unsent, isUndone),
  }
  const pipeline: Pipeline = new driver.Pipeline(output, answers, events, source, {
    maxBytes: RESULT_BYTES_MAX,
  })
  const lane: Lane = new Lane(pipeline, counts)
  return { pipeline, lane, connected: connected.promise }
}

/** Loaded at the first connect: without libpq the worker, and with it the cache, still runs. */
async function loadDriver() {
  try {
    return await import('../../native-bindings/pipeline.ts')
  } catch (cause) {
    throw notConfiguredError(cause as Error)
  }
}
