/** client_process: what clients do under fire, each in a process of its own: `node client_process.ts ROLE SOCKET JSON`.
 *  Owns:   its connections.   Thread: main of a child process; the parent speaks by lines: 'ready' and results go out on stdout,
 *          an end of stdin ends the role.
 *  Holds:  a role that measures times each request from when it was due, so that one pause counts for all who met it. */

import net from 'node:net'
import { createInterface } from 'node:readline'
import { connect, type Hearth, type HearthError } from '../../engine/client/index.ts'
import { OPS, REPLIES } from '../../engine/protocol/spec.ts'
import { frame, get, hello, set } from '../../test/helpers/frames.ts'

const [role, socket, json] = process.argv.slice(2) as [string, string, string]
let isOver = false
process.stdin.on('data', () => undefined).on('end', () => void (isOver = true))

/** Sends so many requests a second over one connection, as far as its socket takes them; counts what is answered. */
async function flood(options: { perSecond: number; sql: boolean }): Promise<unknown> {
  const wire = net.connect(socket)
  await new Promise(resolve => wire.once('connect', resolve))
  wire.write(hello())
  let answered = 0
  let bodyLeft = 0
  let head: Buffer = EMPTY
  let errors = 0
  const count = (word: number): void => {
    answered++
    if ((word & 0xff) === REPLIES.ERROR.code) errors++
    bodyLeft = word >>> 8
  }
  wire.on('data', (bytes: Buffer) => {
    let at = 0
    for (;;) {
      const skipped = Math.min(bodyLeft, bytes.length - at)
      bodyLeft -= skipped
      at += skipped
      if (bodyLeft > 0 || at === bytes.length) return
      const missing = 8 - head.length
      if (head.length > 0 || bytes.length - at < 8) {
        head = Buffer.concat([head, bytes.subarray(at, at + missing)])
        at += Math.min(missing, bytes.length - at)
        if (head.length < 8) return
        count(head.readUInt32LE(0))
        head = EMPTY
      } else {
        count(bytes.readUInt32LE(at))
        at += 8
      }
    }
  })
  wire.on('error', () => undefined)
  const batch = Buffer.concat(Array.from({ length: BATCH }, (_, i) => mixed(i, options.sql)))
  let sent = 0
  const startMs = performance.now()
  console.log('ready')
  while (!isOver) {
    const due = ((performance.now() - startMs) / 1_000) * options.perSecond
    while (sent < due && wire.writableLength < UNSENT_BYTES_MAX) {
      wire.write(batch)
      sent += BATCH
    }
    // What the socket did not take is not owed: a flood does not catch up.
    if (sent < due) sent = due
    await new Promise(resolve => setTimeout(resolve, 1))
  }
  const seconds = (performance.now() - startMs) / 1_000
  return { perSecond: answered / seconds, errors }
}

/** Some connections, each with a request every `everyMs`: their latencies, sorted, in milliseconds, and what failed. */
async function steady(options: {
  clients: number
  everyMs: number
  sql: boolean
  prefix?: string
}): Promise<unknown> {
  const clients = await Promise.all(
    Array.from({ length: options.clients }, () =>
      connect({ socket, failOpen: false, sharedMemory: false, timeoutMs: 30_000 }),
    ),
  )
  const tookMs: number[] = []
  const errors: Record<string, number> = {}
  const one = async (hearth: Hearth, turn: number, dueMs: number): Promise<void> => {
    try {
      await request(hearth, turn, options.sql)
    } catch (error) {
      const { code } = error as HearthError
      errors[code] = (errors[code] ?? 0) + 1
    }
    tookMs.push(performance.now() - dueMs)
  }
  for (const client of clients) for (let i = 0; i < 20; i++) await one(client, i, performance.now())
  tookMs.length = 0
  console.log('ready')
  const asked: Promise<void>[] = []
  await Promise.all(
    clients.map(async (client, index) => {
      const startMs = performance.now() + (index * options.everyMs) / clients.length
      for (let turn = 0; !isOver; turn++) {
        const dueMs = startMs + turn * options.everyMs
        const waitMs = dueMs - performance.now()
        if (waitMs > 0) await new Promise(resolve => setTimeout(resolve, waitMs))
        // A timer's own lateness is this process's, not the engine's.
        asked.push(one(client, turn + index, Math.max(dueMs, performance.now())))
      }
    }),
  )
  await Promise.all(asked)
  for (const client of clients) await client.close()
  return { tookMs: tookMs.sort((a, b) => a - b).map(ms => Math.round(ms * 1_000) / 1_000), errors }
}

async function request(hearth: Hearth, turn: number, hasSql: boolean): Promise<unknown> {
  const kind = turn % 10
  if (kind === 9 && hasSql) return hearth.db.query('select $1::int as n', [turn])
  if (kind >= 7) return hearth.cache.set(`steady:${turn % 100}`, { turn })
  if (kind === 6) return hearth.cache.get(`none:${turn}`)
  return hearth.cache.get(`steady:${turn % 100}`)
}

/** Connections that ask for much and never read an answer; half-open when this process is stopped. */
async function mute(options: { connections: number; gets: number; key: string }): Promise<unknown> {
  const wires = Array.from({ length: options.connections }, () => net.connect(socket))
  for (const wire of wires) {
    await new Promise(resolve => wire.once('connect', resolve))
    wire.pause().on('error', () => undefined)
    wire.write(hello())
    wire.write(Buffer.concat(Array.from({ length: options.gets }, (_, i) => get(i, options.key))))
  }
  console.log('ready')
  for await (const _ of createInterface({ input: process.stdin }));
  return {}
}

/** All that services do, without a pause but for the machine's sake: also connections that come and go, expiring keys, LISTEN. */
async function soak(): Promise<unknown> {
  const counts = { requests: 0, connections: 0, messages: 0, errors: {} as Record<string, number> }
  const open = (sharedMemory: boolean) =>
    connect({ socket, failOpen: false, sharedMemory, timeoutMs: 30_000 })
  const lasting = await open(false)
  await lasting.subscribe('soak:*', () => void counts.messages++)
  await lasting.cache.watch('watched:*', () => void counts.messages++)
  console.log('ready')
  const lane = (everyMs: number, work: (turn: number) => Promise<unknown>) => async () => {
    for (let turn = 0; !isOver; turn++) {
      try {
        await work(turn)
      } catch (error) {
        const { code } = error as HearthError
        counts.errors[code] = (counts.errors[code] ?? 0) + 1
      }
      counts.requests++
      await new Promise(resolve => setTimeout(resolve, everyMs))
    }
  }
  const { cache, db } = lasting
  const lanes = [
    lane(2, turn => cache.get(`soak:${turn % 3_000}`)),
    lane(2, turn => cache.set(`soak:${turn % 3_000}`, { turn }, { ttlMs: 2_000 })),
    lane(5, turn => cache.set(`watched:${turn % 50}`, turn, { ttlMs: 1_000, tags: ['w'] })),
    lane(200, () => cache.invalidateTags(['w'])),
    lane(5, turn => cache.getOrSet(`loaded:${turn % 200}`, async () => turn, { ttlMs: 1_000 })),
    lane(5, turn => db.query('select $1::int as n', [turn])),
    lane(10, turn =>
      db.query('select * from soak where id = $1', [turn % 100], { cache: { ttlMs: 500 } }),
    ),
    lane(20, turn =>
      db.transaction(async tx => {
        await tx.query('update soak set at = at + 1 where id = $1', [turn % 100])
        await tx.query('select 1')
      }),
    ),
    lane(10, turn => lasting.publish(`soak:${turn % 10}`, { turn })),
    lane(500, async () => {
      for await (const _ of db.stream('select generate_series(1, 500) as i'));
    }),
    lane(15, async turn => {
      const guest = await open(turn % 2 === 0)
      counts.connections++
      const subscription = await guest.subscribe('soak:1', () => undefined)
      await guest.cache.set('guest', turn)
      await guest.cache.get('guest')
      await guest.db.query('select 1')
      if (turn % 3 > 0) await subscription.close()
      await guest.close()
    }),
  ]
  await Promise.all(lanes.map(each => each()))
  await lasting.close()
  return counts
}

const BATCH = 500
const UNSENT_BYTES_MAX = 256 * 1024
const EMPTY = Buffer.alloc(0)

/** 70 % gets, half of them of nothing; 24 % sets; 5 % SQL, else gets; 1 % lists of keys. */
function mixed(index: number, hasSql: boolean): Buffer {
  const kind = (index * 37) % 100
  if (kind === 99) return frame(OPS.KEYS.code, index, 'flood:*', '', 100)
  if (kind >= 94 && hasSql)
    return frame(OPS.QUERY.code, index, 'main', 5_000, 0, '', 'select 1', [])
  if (kind >= 70) return set(index, `flood:${index}`, { at: index })
  return get(index, kind % 2 === 0 ? `flood:${index}` : `none:${index}`)
}

// Last, since constants are not there before their lines.
const ROLES: Record<string, (options: never) => Promise<unknown>> = { flood, steady, mute, soak }
const told = await ROLES[role]!(JSON.parse(json) as never)
// Whatever a role left open ends with it, once the pipe has taken all.
process.stdout.write(`${JSON.stringify(told)}\n`, () => process.exit(0))
