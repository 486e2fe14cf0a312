/** Cached reads and writes of the same rows from several processes at once: no read is older than what was acknowledged before it.
 *  Owns:   an engine in this process, whose worker is killed now and then; the clients' processes.   Thread: main of a test process.
 *  Holds:  every event of every process is looked at, by the moments of one clock.
 *  Runs:   beside others, since no figure of it is near its bound. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { addTrigger, SETUP } from '../engine/watch/triggers.ts'
import { cleanEnvironment } from './helpers/engine.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { WireClient } from './helpers/postgres_wire.ts'
import { openSqlEngine } from './helpers/sql_engine.ts'

const postgres = await sharedPostgres()
const PROCESSES = 4
const CLIENTS = 2
const COUNTERS = 5
const SECONDS = process.env['HEARTH_TEST_FULL'] === '1' ? 30 : 3
const KILL_EVERY_MS = 1_500
const SEEN = { kind: 0, counter: 1, value: 2, atMs: 3, fields: 4, written: 1 } as const

test('no cached read is older than a write that was acknowledged before it began, through deaths of the worker', async t => {
  const url = await postgres.createDatabase()
  const engine = await openSqlEngine(t, url)
  const { db } = engine.client
  await db.query('create table counter (id int primary key, value int not null)')
  await db.query(`insert into counter select g, 0 from generate_series(1, ${COUNTERS}) g`)
  const folder = mkdtempSync(join(tmpdir(), 'hearth-counters-'))
  t.after(() => rmSync(folder, { recursive: true }))

  // One more writes past the engine, whose triggers tell of it.
  const outsider = await WireClient.open(url)
  t.after(() => outsider.close())
  await outsider.query([...SETUP.schema, ...SETUP.functions, ...addTrigger('counter')].join(';'))
  const files = Array.from({ length: PROCESSES }, (_, i) => join(folder, `seen${i}`))
  const reports = files.map(file => clients(engine.socket, file))
  let isOver = false
  const killing = killNowAndThen(engine.killWorker, () => isOver)
  const outside = writeOutside(outsider, () => isOver)
  const told = await Promise.all(reports)
  isOver = true
  await killing
  const outsideWrites = await outside

  const events = files.flatMap(file => eventsOf(readFileSync(file)))
  const late = lateReads(events)
  const reads = events.filter(({ isWritten }) => !isWritten).length
  const hits = told.reduce((sum, report) => sum + report.hits, 0)
  t.diagnostic(`${reads} reads, ${hits} from the cache, ${events.length - reads} writes`)
  assert.ok(hits > reads / 10, 'the cache was used')
  assert.deepEqual(late.slice(0, 3), [])
  const unseenMs = outsideWrites.map(write => unseenFor(write, events)).sort((a, b) => a - b)
  const p99Ms = unseenMs[Math.floor(unseenMs.length * 0.99)]!
  t.diagnostic(
    `${unseenMs.length} writes from elsewhere: seen after at most ${p99Ms.toFixed(1)} ms (p99), ${unseenMs.at(-1)!.toFixed(1)} ms`,
  )
  assert.ok(p99Ms < 2_000, 'also while the worker is being replaced')
})

interface Seen {
  readonly isWritten: boolean
  readonly counter: number
  readonly value: number
  readonly atMs: number
}

/** For how long after a write from elsewhere somebody still read what was before it, in milliseconds. */
function unseenFor(write: Seen, events: readonly Seen[]): number {
  let lastMs = 0
  for (const { isWritten, counter, value, atMs } of events) {
    if (isWritten || counter !== write.counter || value >= write.value) continue
    lastMs = Math.max(lastMs, atMs - write.atMs)
  }
  return lastMs
}

async function writeOutside(client: WireClient, isOver: () => boolean): Promise<Seen[]> {
  const written: Seen[] = []
  while (!isOver()) {
    const counter = 1 + (written.length % COUNTERS)
    const sql = 'update counter set value = value + 1 where id = $1 returning value'
    const value = Number(await client.value(sql, [String(counter)]))
    const atMs = Number(process.hrtime.bigint()) / 1e6
    written.push({ isWritten: true, counter, value, atMs })
    await sleep(20)
  }
  return written
}

/** Reads that are older than a write which was acknowledged before they began. */
function lateReads(events: readonly Seen[]): unknown[] {
  const late: unknown[] = []
  const newest = new Map<number, Seen>()
  // Of the same moment, reads first: the write was not acknowledged before.
  const inOrder = events.toSorted(
    (a, b) => a.atMs - b.atMs || Number(a.isWritten) - Number(b.isWritten),
  )
  for (const event of inOrder) {
    const known = newest.get(event.counter)
    if (event.isWritten) {
      if (known === undefined || event.value > known.value) newest.set(event.counter, event)
    } else if (known !== undefined && event.value < known.value)
      late.push({ ...event, acknowledged: known.value, beforeMs: event.atMs - known.atMs })
  }
  return late
}

function eventsOf(bytes: Buffer): Seen[] {
  const numbers = new Float64Array(
    bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length),
  )
  return Array.from({ length: numbers.length / SEEN.fields }, (_, i) => {
    const at = i * SEEN.fields
    return {
      isWritten: numbers[at + SEEN.kind] === SEEN.written,
      counter: numbers[at + SEEN.counter]!,
      value: numbers[at + SEEN.value]!,
      atMs: numbers[at + SEEN.atMs]!,
    }
  })
}

async function clients(socket: string, file: string): Promise<{ events: number; hits: number }> {
  const script = join(import.meta.dirname, 'helpers/counter_client.ts')
  const args = [script, socket, CLIENTS, SECONDS, COUNTERS, file].map(String)
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: cleanEnvironment(),
  })
  let text = ''
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk
  })
  await once(child, 'close')
  return JSON.parse(text)
}

async function killNowAndThen(kill: () => Promise<void>, isOver: () => boolean): Promise<void> {
  for (;;) {
    await sleep(KILL_EVERY_MS)
    if (isOver()) return
    await kill()
  }
}
