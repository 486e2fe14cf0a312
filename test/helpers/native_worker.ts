/** A worker thread for the libpq tests: runs pg-native on the binding, as it is told by `workerData.job`.
 *  Owns:   the connections it opens; `busy` and `connecting` are meant to be terminated with them open.
 *  Thread: a worker.
 *  Holds:  posts one message when it has got going ('ready') and one with its result. */
import { parentPort, workerData } from 'node:worker_threads'
import { end, openPgNative, openPq, PgNativeClient, PQ, query } from './native_clients.ts'

export interface WorkerJob {
  readonly job: 'sum' | 'busy' | 'connecting' | 'throw' | 'reject'
  readonly url: string
  readonly count: number
}

const { job, url, count } = workerData as WorkerJob

/** Prepared statements, parameters and blocking calls on `count` connections; answers the sum that was asked for. */
async function sum(): Promise<void> {
  const clients = await Promise.all(Array.from({ length: count }, () => openPgNative(url)))
  parentPort!.postMessage('ready')
  const sums = await Promise.all(
    clients.map(async (client, at) => {
      let total = 0
      for (let i = 0; i < 50; i++) {
        const rows = await query(client, 'select $1::int + $2::int as sum', [i, at])
        total += rows[0]!['sum'] as number
      }
      return total
    }),
  )
  await Promise.all(clients.map(end))
  parentPort!.postMessage(sums.reduce((a, b) => a + b, 0))
}

/** Statements and new connections without end, at every moment some of each in flight. */
async function busy(): Promise<void> {
  for (let i = 0; i < count; i++) {
    openPgNative(url).then(function again(client): void {
      client.query('select repeat($1, 100000) as much, pg_sleep(0.001)', [`x${i}`], () =>
        again(client),
      )
    })
  }
  const reconnect = () => {
    const client = new PgNativeClient()
    client.connect(url, () => client.end(reconnect))
  }
  reconnect()
  const open = await openPq(url)
  open.sendQuery('select pg_sleep(30)')
  open.startReader()
  open.writable(() => {})
  parentPort!.postMessage('ready')
}

/** Attempts that nobody answers, in the middle of libpq's state machine. */
function connecting(): void {
  for (let i = 0; i < count; i++) new PQ().connect(url, () => {})
  parentPort!.postMessage('ready')
}

async function fail(): Promise<void> {
  const client = await openPgNative(url)
  parentPort!.postMessage('ready')
  client.query('select 1', [], () => {
    if (job === 'throw') throw new Error('thrown in a callback')
    Promise.reject(new Error('rejected in a callback'))
  })
}

if (job === 'sum') await sum()
else if (job === 'busy') await busy()
else if (job === 'connecting') connecting()
else await fail()
