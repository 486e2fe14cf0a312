/** disk: the disk under the cache fills up and has room again; its file is overwritten by somebody while it is in use.
 *  Owns:   one engine a fault; a small tmpfs, mounted where its state is.   Thread: main of a bench or of a test.
 *  Holds:  every disk is unmounted at the end; where none may be mounted the fault is not brought about. */

import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readdirSync, rmSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Hearth, HearthError } from '../../engine/client/index.ts'
import { pause, Stand } from '../macro/stand.ts'
import {
  atMost,
  type Fault,
  type FireSize,
  holds,
  type Seen,
  shown,
  told,
  untilTrue,
} from './parts.ts'

const DISK_MIB = 8
const BACK_MS_MAX = 10_000
const PAGE_BYTES = 4_096
/** Gets are to come from the file. */
const SMALL_TIER_1 = { HEARTH_MEMORY_MAX_ENTRIES: '100' }

export const diskFull: Fault = {
  name: 'disk full, and back',
  done: `the engine's ${DISK_MIB} MiB disk is filled to the last byte while clients get and set, and emptied again, in turns`,
  async run(size) {
    const stand = new Stand({ env: SMALL_TIER_1, isQuiet: true })
    const state = join(stand.folder, 'state')
    mkdirSync(state)
    if (!mounted(state)) {
      rmSync(stand.folder, { recursive: true })
      return undefined
    }
    try {
      await stand.start()
      return await fillAndEmpty(stand, state, size)
    } finally {
      await stand.stopEngine()
      execFileSync('umount', ['-l', state], { stdio: 'pipe' })
      await stand.stop()
    }
  },
}

async function fillAndEmpty(stand: Stand, state: string, size: FireSize): Promise<Seen[]> {
  const rounds = size === 'short' ? 2 : 10
  const ms = size === 'short' ? 400 : 3_000
  const client = await stand.client({ sharedMemory: false })
  const load = new DiskLoad(client)
  await load.keep(200)
  let slowestBackMs = 0
  let refused = 0
  for (let round = 0; round < rounds; round++) {
    const before = load.refused
    const ballast = filled(state)
    await load.during(ms, round)
    refused += Math.sign(load.refused - before)
    rmSync(ballast)
    const backMs = await untilTrue(async () => (await client.health()).status === 'ok', BACK_MS_MAX)
    slowestBackMs = Math.max(slowestBackMs, backMs)
  }
  await load.during(200, rounds)
  const lost = await load.lost()
  return [
    told('gets, sets, sets refused', [load.gets, load.sets, load.refused].map(shown).join(', ')),
    holds('no get failed', load.failedGets === 0, `${load.failedGets} of ${shown(load.gets)}`),
    holds('sets were refused in each round', refused === rounds, `in ${refused} of ${rounds}`),
    holds(
      'refused with UNAVAILABLE',
      load.otherCodes.size === 0,
      [...load.otherCodes].join() || 'yes',
    ),
    holds('acknowledged writes kept', lost === 0, `${lost} lost`),
    holds('no value was wrong', load.wrong === 0, `${load.wrong} wrong`),
    atMost('healthy again once there is room', slowestBackMs, BACK_MS_MAX, 'ms'),
  ]
}

export const fileDamaged: Fault = {
  name: 'SQLite file damaged while running',
  done: 'pages in the middle of the file, then of its WAL, are overwritten with noise by another process while clients get and set',
  async run(size) {
    const stand = new Stand({ env: SMALL_TIER_1, isQuiet: true })
    try {
      await stand.start()
      const client = await stand.client({ sharedMemory: false })
      const load = new DiskLoad(client)
      let asides = 0
      let slowestBackMs = 0
      const rounds = size === 'short' ? 2 : 20
      for (let round = 0; round < rounds; round++) {
        await load.keep(2_000)
        const suffix = round % 2 === 0 ? '' : '-wal'
        spoil(join(stand.folder, 'state', `cache.sqlite${suffix}`))
        await load.during(size === 'short' ? 300 : 2_000, round)
        await load.lost()
        const backMs = await untilTrue(async () => {
          await client.cache.set('after', round)
          return (await client.health()).status === 'ok'
        }, BACK_MS_MAX).catch(() => Infinity)
        slowestBackMs = Math.max(slowestBackMs, backMs)
        asides += setAside(stand) > 0 ? 1 : 0
      }
      const { workers } = await client.stats()
      const restarts = workers.reduce((sum, worker) => sum + worker.restarts, 0)
      return [
        told(
          'gets, sets, sets refused',
          [load.gets, load.sets, load.refused].map(shown).join(', '),
        ),
        holds('the file was set aside', asides > 0),
        holds('no get failed', load.failedGets === 0, `${load.failedGets} of ${shown(load.gets)}`),
        holds('no value was wrong', load.wrong === 0, `${load.wrong} wrong`),
        holds('no worker died', restarts === 0, `${restarts} restarts`),
        atMost('stores and is healthy again', slowestBackMs, BACK_MS_MAX, 'ms'),
      ]
    } finally {
      await stand.stop()
    }
  },
}

/** Gets and sets of values that tell their key and when they were set. */
class DiskLoad {
  gets = 0
  sets = 0
  refused = 0
  failedGets = 0
  wrong = 0
  readonly otherCodes = new Set<string>()
  /** The newest value of each key that was acknowledged, where no later set has an unknown outcome. */
  private readonly acknowledged = new Map<string, string>()
  private readonly client: Hearth
  private serial = 0

  constructor(client: Hearth) {
    this.client = client
  }

  /** Stores entries that are not changed by during(). */
  async keep(count: number): Promise<void> {
    for (let at = 0; at < count; at += 200)
      await Promise.all(Array.from({ length: 200 }, (_, i) => this.set(`kept:${at + i}`, 100)))
  }

  async during(ms: number, round: number): Promise<void> {
    const endMs = performance.now() + ms
    const lane = async (lane: number) => {
      for (let step = 0; performance.now() < endMs; step++) {
        await this.set(`round:${round % 3}:${lane}:${step % 40}`, 8_000)
        await this.get(`kept:${(step * 7 + lane) % 200}`)
        await this.get(`none:${step}`)
        await pause(1)
      }
    }
    await Promise.all(Array.from({ length: 8 }, (_, i) => lane(i)))
  }

  /** How many acknowledged writes are not there. */
  async lost(): Promise<number> {
    let lost = 0
    for (const [key] of this.acknowledged) {
      if (key.startsWith('kept:') && (await this.get(key)) === undefined) lost++
    }
    return lost
  }

  private async set(key: string, bytes: number): Promise<void> {
    this.sets++
    const value = `${key}#${this.serial++}#`.padEnd(bytes, key)
    this.acknowledged.delete(key)
    try {
      await this.client.cache.set(key, value, { ttlMs: 0 })
      this.acknowledged.set(key, value)
    } catch (error) {
      this.refused++
      const { code } = error as HearthError
      if (code !== 'UNAVAILABLE') this.otherCodes.add(code)
    }
  }

  private async get(key: string): Promise<string | undefined> {
    this.gets++
    try {
      const value = await this.client.cache.get<string>(key)
      const expected = this.acknowledged.get(key)
      if (value !== undefined && expected !== undefined && value !== expected) this.wrong++
      return value
    } catch {
      this.failedGets++
      return undefined
    }
  }
}

function mounted(folder: string): boolean {
  try {
    const options = ['-t', 'tmpfs', '-o', `size=${DISK_MIB}m`, 'tmpfs', folder]
    execFileSync('mount', options, { stdio: 'pipe' })
    return true
  } catch {
    return false
  }
}

/** Takes all the room that is left; the file that does. */
function filled(folder: string): string {
  const file = join(folder, 'ballast')
  const fd = openSync(file, 'w')
  for (let bytes = 64 * 1_024; bytes >= 1; ) {
    try {
      writeSync(fd, Buffer.alloc(bytes))
    } catch {
      bytes = Math.floor(bytes / 2)
    }
  }
  closeSync(fd)
  return file
}

/** Noise over every second page, but for the first two. */
function spoil(file: string): void {
  const { size } = statSync(file, { throwIfNoEntry: false }) ?? { size: 0 }
  if (size === 0) return
  const noise = Buffer.from(Array.from({ length: PAGE_BYTES }, (_, i) => (i * 197 + 13) & 0xff))
  const fd = openSync(file, 'r+')
  for (let at = 2 * PAGE_BYTES; at < size; at += 2 * PAGE_BYTES)
    writeSync(fd, noise, 0, Math.min(PAGE_BYTES, size - at), at)
  closeSync(fd)
}

function setAside(stand: Stand): number {
  return readdirSync(join(stand.folder, 'state')).filter(name => name.includes('.damaged-')).length
}
