/** A process with clients that write and read cached counters, and say afterwards what they saw and when.
 *  Owns:   its clients.   Thread: main of a child process: counter_client.ts SOCKET CLIENTS SECONDS COUNTERS FILE.
 *  Holds:  moments are of the system's monotonic clock, the same in all processes; a write counts once it is acknowledged. */

import { writeFileSync } from 'node:fs'
import { connect, type Hearth } from '../../engine/client/index.ts'

/** What was seen, in four numbers: whether it is a write, the counter, its value, and the moment: of a write that it was acknowledged,
 *  of a read that it began. */
const SEEN = { fields: 4, read: 0, written: 1 } as const

const READS_A_TURN = 8
const EVENTS_MAX = 2_000_000

const [socket, clientCount, seconds, counters, file] = process.argv.slice(2)
const seen: number[] = []
let hits = 0
const endMs = nowMs() + Number(seconds) * 1_000

await Promise.all(Array.from({ length: Number(clientCount) }, (_, i) => client(i)))
writeFileSync(file!, new Uint8Array(new Float64Array(seen).buffer))
console.log(JSON.stringify({ events: seen.length / SEEN.fields, hits }))
process.exit(0)

async function client(index: number): Promise<void> {
  // One of them reads over the socket, the others in place.
  const hearth = await connect({ socket: socket!, sharedMemory: index !== 0, timeoutMs: 2_000 })
  while (nowMs() < endMs && seen.length < EVENTS_MAX) {
    const counter = 1 + Math.floor(Math.random() * Number(counters))
    try {
      if (Math.random() < 0.1) await write(hearth, counter)
      else for (let i = 0; i < READS_A_TURN; i++) await read(hearth, counter)
    } catch {
      // A worker was killed: what a write has done then nobody knows.
      await new Promise(resolve => setTimeout(resolve, 5))
    }
    await new Promise(setImmediate)
  }
}

async function write(hearth: Hearth, counter: number): Promise<void> {
  const sql = 'update counter set value = value + 1 where id = $1 returning value'
  const isInTransaction = Math.random() < 0.3
  const run = (by: Pick<Hearth['db'], 'query'>) => by.query<{ value: number }>(sql, [counter])
  const { rows } = isInTransaction ? await hearth.db.transaction(run) : await run(hearth.db)
  seen.push(SEEN.written, counter, rows[0]!.value, nowMs())
}

async function read(hearth: Hearth, counter: number): Promise<void> {
  const atMs = nowMs()
  const sql = 'select value from counter where id = $1'
  const { rows, source } = await hearth.db.query<{ value: number }>(sql, [counter], {
    cache: { ttlMs: 60_000, maxStaleMs: 60_000 },
  })
  if (source !== 'primary') hits++
  seen.push(SEEN.read, counter, rows[0]!.value, atMs)
}

function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
