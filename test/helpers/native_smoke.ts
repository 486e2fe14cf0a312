/** A process that uses the native binding once in each way and prints what it saw: run by whichever Node is to be tried.
 *  Owns:   its connections.   Thread: main of the child, and one worker.
 *  Holds:  prints one line of JSON, and nothing else, when all went well. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { end, openPgNative, query } from './native_clients.ts'
import { rowsOf, TestPipeline } from './native_pipeline.ts'

const [url = ''] = process.argv.slice(2)

/** Prepared through a pipeline, with many in flight; and through pg-native. */
async function use(): Promise<unknown[]> {
  const opened = new TestPipeline()
  const problem = await opened.connect(url)
  if (problem !== undefined) throw new Error(problem)
  opened.pipeline.define(0, 'sum', 'select $1::int + $2::int')
  const answers = await Promise.all(
    Array.from({ length: 100 }, (_, i) => opened.execute(0, [i, 1_000])),
  )
  const sums = answers.map(answer => rowsOf(answer).values[0] as number)
  opened.pipeline.finish()
  const client = await openPgNative(url)
  const rows = await query(client, 'select $1::text as text', ['grüße'])
  await end(client)
  return [sums.reduce((sum, each) => sum + each, 0), rows[0]!['text']]
}

/** The file that this process has loaded the binding from, as the kernel has it. */
function loadedBinding(): string {
  const maps = readFileSync('/proc/self/maps', 'utf8')
  return /\/\S+\/hearth\.node$/m.exec(maps)![0]
}

if (isMainThread) {
  const main = await use()
  const worker = new Worker(new URL(import.meta.url), { argv: [url] })
  const thread = await new Promise((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
  const binding = loadedBinding()
  const hash = createHash('sha256').update(readFileSync(binding)).digest('hex')
  console.log(JSON.stringify({ version: process.version, binding, hash, main, thread }))
} else {
  parentPort!.postMessage(await use())
}
