/** in_place: hits of tier 1 read in the client's own process: how long one takes, and how many processes read at once.
 *  Owns:   the reader processes of a measurement.
 *  Thread: main of the bench; as a script, main of a reader process.
 *  Holds:  every hit is decoded; a measurement in which a read was no hit in place is an error, not a figure. */

import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { connect, type Hearth } from '../../engine/client/index.ts'
import { percentile } from './stand.ts'

const SLICE = 2_000
/** Reads that are timed together: reading the clock twice costs a third of one. */
const TIMED = 8

/** The median duration of a read in microseconds. `peek()` is synchronous, `get()` is awaited each time. */
export async function p50OfHits(
  client: Hearth,
  how: 'peek' | 'get',
  keys: readonly string[],
  count: number,
): Promise<number> {
  const found = new Float64Array(Math.ceil(count / TIMED))
  for (let slice = 0; slice < found.length; slice++) {
    const startMs = performance.now()
    for (let i = slice * TIMED; i < (slice + 1) * TIMED; i++) {
      const key = keys[(i * 7_919) % keys.length]!
      const value = how === 'peek' ? client.cache.peek(key) : await client.cache.get(key)
      if (value === undefined) throw new Error(`${how}: ${key} was no hit`)
    }
    found[slice] = (performance.now() - startMs) / TIMED
  }
  return percentile(found.sort(), 0.5) * 1_000
}

/** Peeks a second, over so many processes that read at the same time for so long. */
export async function peeksPerSecond(
  socket: string,
  keys: readonly string[],
  processes: number,
  ms: number,
): Promise<number> {
  const children = Array.from({ length: processes }, () =>
    fork(fileURLToPath(import.meta.url), [socket, JSON.stringify(keys), String(ms)]),
  )
  try {
    await Promise.all(children.map(said))
    const counts = Promise.all(children.map(said))
    for (const child of children) child.send('go')
    const perSecond = (await counts) as number[]
    return perSecond.reduce((sum, each) => sum + each, 0)
  } finally {
    for (const child of children) child.kill()
  }
}

function said(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    child.once('message', resolve)
    child.once('exit', code => reject(new Error(`a reader ended with ${code}`)))
  })
}

async function read(socket: string, keys: readonly string[], ms: number): Promise<void> {
  const client = await connect({ socket, failOpen: false })
  peekFor(client, keys, ms / 2) // Warms up.
  process.once('message', () => process.send!(peekFor(client, keys, ms)))
  process.send!('ready')
}

/** Peeks for so long; how many that is a second. */
function peekFor(client: Hearth, keys: readonly string[], ms: number): number {
  const startMs = performance.now()
  let count = 0
  while (performance.now() - startMs < ms) {
    for (let i = 0; i < SLICE; i++, count++) {
      if (client.cache.peek(keys[(count * 7_919) % keys.length]!) === undefined)
        throw new Error('a peek was no hit')
    }
  }
  return (count / (performance.now() - startMs)) * 1_000
}

if (process.send !== undefined && process.argv[1] === fileURLToPath(import.meta.url)) {
  const [socket, keys, ms] = process.argv.slice(2)
  void read(socket!, JSON.parse(keys!) as string[], Number(ms))
}
