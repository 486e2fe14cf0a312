/** A process that terminates busy workers at random moments and reports what is left of them. Run as a child: when the
 *  binding is wrong, this is what crashes.
 *  Owns:   the workers, one or two at a time.
 *  Thread: main of the child.
 *  Holds:  the random moments come from the seed it is given, which it prints with everything else. */
import { readdirSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import type { PipelineJob } from './native_pipeline_worker.ts'
import type { WorkerJob } from './native_worker.ts'

const [url = '', rounds = '10', seedText = '1', job = 'busy'] = process.argv.slice(2)
const WORKERS_AT_ONCE = 2
const DELAY_MS_MAX = 40
let state = Number(seedText)
// Its optional part reads node's own file to find out which C library that is, and a worker that ends meanwhile leaves the file
// open.
process.env['MSGPACKR_NATIVE_ACCELERATION_DISABLED'] = 'true'

function random(): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
  return state / 2 ** 32
}

async function round(): Promise<void> {
  const isPipeline = job.startsWith('pipeline')
  const workerData = { job, url, count: 3 } as WorkerJob | PipelineJob
  const script = isPipeline ? './native_pipeline_worker.ts' : './native_worker.ts'
  const worker = new Worker(new URL(script, import.meta.url), { workerData })
  const failed = new Promise<never>((_, reject) => worker.once('error', reject))
  const isEarly = random() < 0.25 // before it has got going: while it loads the binding or connects
  if (!isEarly)
    await Promise.race([new Promise(resolve => worker.once('message', resolve)), failed])
  await Promise.race([sleep(random() * DELAY_MS_MAX * (isEarly ? 4 : 1)), failed])
  failed.catch(() => {})
  await worker.terminate()
}

async function lane(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await round()
}

function descriptors(): string[] {
  return readdirSync('/proc/self/fd').map(fd => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).replace(/:\[\d+\]$/, '')
    } catch {
      return 'closed'
    }
  })
}

await lane(2) // what Node itself opens once for its first workers is not counted
const before = descriptors()
await Promise.all(
  Array.from({ length: WORKERS_AT_ONCE }, () => lane(Math.ceil(Number(rounds) / WORKERS_AT_ONCE))),
)
await sleep(50)
console.log(JSON.stringify({ before: before.sort(), after: descriptors().sort() }))
