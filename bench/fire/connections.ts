/** connections: clients that do not read, that are half open, that are two thousand, and no descriptors left for more.
 *  Owns:   one engine a fault.   Thread: main of a bench or of a test.
 *  Holds:  beside each fault a client goes on working, and its longest wait is told. */

import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import type { Hearth } from '../../engine/client/index.ts'
import { ping } from '../../test/helpers/frames.ts'
import { pause, Stand } from '../macro/stand.ts'
import {
  atMost,
  descriptorCount,
  type Fault,
  grown,
  holds,
  processorShare,
  Role,
  type Seen,
  settledBytes,
  shown,
  told,
  untilTrue,
} from './parts.ts'

const MIB = 2 ** 20
/** A client beside a fault waits no longer than this: far more than it does, far less than a hang. */
const WAIT_MS_MAX = 2_000

/** Requests of one client, one after another, while something else goes on: how many, and the longest. */
export async function beside(
  { cache }: Hearth,
  during: () => Promise<unknown>,
): Promise<{ count: number; slowestMs: number }> {
  const seen = { count: 0, slowestMs: 0 }
  let isOver = false
  const working = (async () => {
    while (!isOver) {
      const startMs = performance.now()
      await cache.set('beside', seen.count, { ttlMs: 0 })
      if ((await cache.get('beside')) !== seen.count) throw new Error('a wrong value')
      seen.slowestMs = Math.max(seen.slowestMs, performance.now() - startMs)
      seen.count++
      await pause(2)
    }
  })()
  await during().finally(() => void (isOver = true))
  await working
  return seen
}

function waited({ count, slowestMs }: { count: number; slowestMs: number }): Seen[] {
  return [
    told('requests beside it', shown(2 * count)),
    atMost('the longest wait of these', slowestMs, WAIT_MS_MAX, 'ms'),
  ]
}

export const slowReader: Fault = {
  name: 'slow reader',
  done: '50 connections ask for 60 MB each and never read',
  async run(size) {
    const stand = new Stand()
    try {
      await stand.start()
      const client = await stand.client({ sharedMemory: false })
      await client.cache.set('large', Buffer.alloc(60_000, 7))
      await pause(700)
      const settled = stand.engineBytes()
      let peak = 0
      const sampler = setInterval(() => void (peak = Math.max(peak, stand.engineBytes())), 20)
      const options = { connections: 50, gets: 1_000, key: 'large' }
      const seen = await beside(client, async () => {
        const role = await Role.start('mute', stand.socket, options)
        await pause(size === 'short' ? 500 : 10_000)
        await role.end()
      })
      clearInterval(sampler)
      // An engine gives back once it is idle, which it is when these sockets are closed.
      await untilTrue(() => stand.engineBytes() - settled < 4 * MIB, 10_000)
      const left = stand.engineBytes()
      // What a socket takes, a gathered write, and the pause: about 1.1 MB for each.
      return [
        atMost('memory at the most, above before', (peak - settled) / MIB, 80, 'MiB'),
        grown('memory when they are gone, above before', left - settled, 8, size),
        ...waited(seen),
      ]
    } finally {
      await stand.stop()
    }
  },
}

export const halfOpen: Fault = {
  name: 'half-open sockets',
  done: 'a process with 50 connections and answers on their way is stopped (SIGSTOP), then killed; 64 HTTP connections over TCP begin a request and say no more',
  async run() {
    const stand = new Stand({ env: { HEARTH_HTTP_LISTEN: `127.0.0.1:${HTTP_PORT}` } })
    const halves: net.Socket[] = []
    try {
      await stand.start()
      const client = await stand.client({ sharedMemory: false })
      await client.cache.set('large', Buffer.alloc(60_000, 7))
      const options = { connections: 50, gets: 20, key: 'large' }
      let goneMs = Infinity
      let clearedMs = Infinity
      let isHealthy = false
      const { clients: before } = await client.stats()
      const seen = await beside(client, async () => {
        const role = await Role.start('mute', stand.socket, options)
        role.child.kill('SIGSTOP')
        for (let i = 0; i < 64; i++) {
          const half = net.connect(HTTP_PORT, '127.0.0.1').on('error', () => undefined)
          half.pause()
          half.write('GET /health HTTP/1.1\r\nHost: local')
          halves.push(half)
        }
        await pause(300)
        isHealthy = (await client.health()).status === 'ok'
        clearedMs = await untilTrue(() => answersHttp(), 15_000)
        role.child.kill('SIGKILL')
        goneMs = await untilTrue(async () => (await client.stats()).clients <= before, 5_000)
      })
      return [
        holds('healthy meanwhile', isHealthy),
        atMost('their places are free after the kill', goneMs, 5_000, 'ms'),
        atMost('HTTP answers a new client', clearedMs, 3_000, 'ms'),
        ...waited(seen),
      ]
    } finally {
      for (const half of halves) half.destroy()
      await stand.stop()
    }
  },
}

const HTTP_PORT = 21_000 + (process.pid % 20_000)

async function answersHttp(): Promise<boolean> {
  try {
    const signal = AbortSignal.timeout(2_000)
    return (await fetch(`http://127.0.0.1:${HTTP_PORT}/health/live`, { signal })).ok
  } catch {
    return false
  }
}

export const manyConnections: Fault = {
  name: '2 000 connections',
  done: '2 000 clients connect, each sets and gets, then all go',
  async run(size) {
    const count = size === 'short' ? 200 : 2_000
    const stand = new Stand()
    try {
      await stand.start()
      const client = await stand.client({ sharedMemory: false })
      // What the first of them costs once is no leak: code, tables.
      await crowd(stand, 100)
      const before = await settledBytes(() => stand.engineBytes(), size)
      const descriptors = descriptorCount(stand.enginePid)
      let served = 0
      let full = 0
      const seen = await beside(client, async () => {
        const found = await crowd(stand, count)
        served = found.served
        full = found.bytes
      })
      const after = await settledBytes(() => stand.engineBytes(), size)
      return [
        holds('all were served', served === count, `${shown(served)} of ${shown(count)}`),
        atMost('memory of one', (full - before) / count / 1_024, size === 'short' ? 64 : 24, 'KiB'),
        grown('memory when they are gone, above before', after - before, 3, size),
        holds('descriptors as before', descriptorCount(stand.enginePid) <= descriptors),
        ...waited(seen),
      ]
    } finally {
      await stand.stop()
    }
  },
}

/** So many clients at once, each of which works a bit. */
async function crowd(stand: Stand, count: number): Promise<{ served: number; bytes: number }> {
  const clients: Hearth[] = []
  while (clients.length < count) {
    const some = Array.from({ length: Math.min(50, count - clients.length) }, () =>
      stand.client({ sharedMemory: false, timeoutMs: 30_000 }),
    )
    clients.push(...(await Promise.all(some)))
  }
  let served = 0
  for (let at = 0; at < count; at += 100) {
    const work = clients.slice(at, at + 100).map(async ({ cache }, i) => {
      await cache.set(`crowd:${at + i}`, at + i)
      if ((await cache.get(`crowd:${at + i}`)) === at + i) served++
    })
    await Promise.all(work)
  }
  const bytes = stand.engineBytes()
  await Promise.all(clients.map(client => client.close()))
  return { served, bytes }
}

export const noDescriptors: Fault = {
  name: 'descriptors used up',
  done: 'the engine may open 8 more files (prlimit); 40 connections come',
  async run(size) {
    const stand = new Stand()
    const waiting: net.Socket[] = []
    try {
      await stand.start()
      const client = await stand.client({ sharedMemory: false })
      await client.cache.set('beside', 0, { ttlMs: 0 })
      if (!limitDescriptors(stand.enginePid, descriptorCount(stand.enginePid) + 8)) return undefined
      let share = 0
      const seen = await beside(client, async () => {
        for (let i = 0; i < 40; i++) {
          const socket = net.connect(stand.socket).on('error', () => undefined)
          waiting.push(socket)
        }
        await pause(500)
        share = await processorShare(stand.enginePid, size === 'short' ? 500 : 10_000)
      })
      for (const socket of waiting.splice(0)) socket.destroy()
      const servedMs = await untilTrue(() => pings(stand.socket), 10_000)
      return [
        // The client beside it costs some.
        atMost('processor meanwhile', share * 100, 60, '%'),
        atMost('a new client is served once there is room', servedMs, 5_000, 'ms'),
        ...waited(seen),
      ]
    } finally {
      for (const socket of waiting) socket.destroy()
      await stand.stop()
    }
  },
}

function limitDescriptors(pid: number, count: number): boolean {
  try {
    execFileSync('prlimit', [`--pid=${pid}`, `--nofile=${count}:${count}`], { stdio: 'pipe' })
    return true
  } catch {
    return false
  }
}

/** Whether a connection is accepted and heard: any answer to its frame is one, also that it is not how one begins. */
async function pings(path: string): Promise<boolean> {
  const socket = net.connect(path).on('error', () => undefined)
  socket.write(ping(1))
  const answered = await Promise.race([once(socket, 'data').then(() => true), pause(1_000)])
  socket.destroy()
  return answered === true
}
