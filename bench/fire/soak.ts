/** soak: ten minutes of all that services do, and nothing gathers.
 *  Owns:   one engine, with a database.   Thread: main of a bench or of a test.
 *  Holds:  own memory is RssAnon + RssShmem; the first minute that counts comes after one in which tables and code reached their
 *          size. */

import { median, pause, Stand } from '../macro/stand.ts'
import {
  atMost,
  descriptorCount,
  type Fault,
  type FireSize,
  holds,
  Role,
  type Seen,
  sharedMemoryCount,
  shown,
  told,
} from './parts.ts'

const SIZES = {
  short: { warmUpMs: 1_500, windowMs: 600, betweenMs: 1_000 },
  real: { warmUpMs: 60_000, windowMs: 60_000, betweenMs: 420_000 },
} as const
/** A few seconds have a collection in them or not. */
const GROWTH_MIB_MAX = { short: 6, real: 1 }
const SAMPLE_MS = 100
const MIB = 2 ** 20

interface Soaked {
  readonly requests: number
  readonly connections: number
  readonly messages: number
  readonly errors: Record<string, number>
}

export const soak: Fault = {
  name: 'soak',
  done: 'ten minutes of gets, sets, expiring keys, getOrSet, tags, SQL, transactions, streams, messages, key watches, and connections that come and go',
  async run(size) {
    const stand = new Stand({ postgres: true, env: { HEARTH_SQLITE_MAX_BYTES: '32MiB' } })
    try {
      await stand.start()
      return await measure(stand, size)
    } finally {
      await stand.stop()
    }
  },
}

async function measure(stand: Stand, size: FireSize): Promise<Seen[]> {
  const { warmUpMs, windowMs, betweenMs } = SIZES[size]
  const { db } = await stand.client({ sharedMemory: false })
  await db.query('create table soak (id int primary key, at int not null)')
  await db.query('insert into soak select g, 0 from generate_series(0, 99) g')
  const role = await Role.start<Soaked>('soak', stand.socket, {})
  await pause(warmUpMs)
  const first = await watched(stand, windowMs)
  await pause(betweenMs)
  const last = await watched(stand, windowMs)
  const { requests, connections, messages, errors } = await role.end()
  const met = Object.entries(errors).map(([code, count]) => `${count} ${code}`)
  return [
    told(
      'requests, connections, messages',
      [requests, connections, messages].map(shown).join(', '),
    ),
    holds('no error', met.length === 0, met.join(', ') || 'none'),
    told('own memory first, last', `${shown(first.bytes / MIB)}, ${shown(last.bytes / MIB)} MiB`),
    atMost('growth', (last.bytes - first.bytes) / MIB, GROWTH_MIB_MAX[size], 'MiB'),
    // A guest or two is connected at any moment.
    atMost('descriptors more', last.descriptors - first.descriptors, 4, ''),
    atMost('objects in shared memory more', last.shared - first.shared, 2, ''),
  ]
}

/** Medians over a window. */
async function watched(stand: Stand, ms: number) {
  const samples: { bytes: number; descriptors: number; shared: number }[] = []
  for (const endMs = performance.now() + ms; performance.now() < endMs; await pause(SAMPLE_MS)) {
    const pid = stand.enginePid
    samples.push({
      bytes: stand.engineBytes(),
      descriptors: descriptorCount(pid),
      shared: sharedMemoryCount(pid),
    })
  }
  const middle = (of: 'bytes' | 'descriptors' | 'shared') => median(samples.map(each => each[of]))
  return { bytes: middle('bytes'), descriptors: middle('descriptors'), shared: middle('shared') }
}
