/** clock: the wall clock of a running engine jumps by a day, forth and back.
 *  Owns:   one engine, with a database, under a small library that adds to its CLOCK_REALTIME.   Thread: main of a bench or of a
 *          test, whose own clock does not jump.
 *  Holds:  the monotonic clock is the kernel's. Without a C compiler the fault is not brought about. */

import { spawnSync } from 'node:child_process'
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { pause, Stand } from '../macro/stand.ts'
import { beside } from './connections.ts'
import { atMost, type Fault, type FireSize, holds, type Seen, shown, told } from './parts.ts'

const DAY_S = 86_400
const WAIT_MS_MAX = 2_000

/** Reads the seconds to add from the first eight bytes of a file, which whoever tests writes. */
const SHIM = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile int64_t none;
static volatile int64_t *ahead = &none;
__attribute__((constructor)) static void open_clock(void) {
    const char *path = getenv("FIRE_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *page = mmap(NULL, 8, PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) ahead = page;
    close(fd);
}
int clock_gettime(clockid_t id, struct timespec *at) {
    int result = (int)syscall(SYS_clock_gettime, id, at);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) at->tv_sec += *ahead;
    return result;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    int result = (int)syscall(SYS_gettimeofday, at, zone);
    at->tv_sec += *ahead;
    return result;
}
time_t time(time_t *at) {
    struct timeval now;
    gettimeofday(&now, NULL);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
`

export const clockJumps: Fault = {
  name: 'clock jumps of a day',
  done: "the engine's wall clock jumps a day ahead, back, a day behind and back, while clients work",
  async run(size) {
    const stand = new Stand({ postgres: size === 'real', isQuiet: true })
    try {
      const clock = new Clock(stand.folder)
      if (!clock.isBuilt) return undefined
      Object.assign(stand.env, clock.env)
      await stand.start()
      const seen = await jumps(stand, clock, size)
      clock.close()
      return seen
    } finally {
      await stand.stop()
    }
  },
}

class Clock {
  readonly isBuilt: boolean
  readonly env: Record<string, string>
  private readonly fd: number

  constructor(folder: string) {
    const file = join(folder, 'clock')
    const source = join(folder, 'clock.c')
    const library = join(folder, 'clock.so')
    writeFileSync(file, Buffer.alloc(8))
    writeFileSync(source, SHIM)
    const compiler = process.env['CC'] ?? 'cc'
    const built = spawnSync(compiler, ['-O2', '-fPIC', '-shared', '-o', library, source])
    this.isBuilt = built.status === 0
    this.env = { LD_PRELOAD: library, FIRE_CLOCK: file }
    this.fd = openSync(file, 'r+')
  }

  set(aheadSeconds: number): void {
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64LE(BigInt(aheadSeconds))
    writeSync(this.fd, bytes, 0, 8, 0)
  }

  close(): void {
    closeSync(this.fd)
  }
}

async function jumps(stand: Stand, clock: Clock, size: FireSize): Promise<Seen[]> {
  const client = await stand.client({ sharedMemory: false })
  const { cache, db } = client
  const wrong: string[] = []
  const check = (what: string, isRight: boolean) => void (isRight || wrong.push(what))
  let stage = 'before'
  const works = async () => {
    await cache.set('fresh', stage, { ttlMs: 60_000 })
    check(`${stage}: a set is not seen`, (await cache.get('fresh')) === stage)
    check(`${stage}: deleted, and served`, (await cache.get('deleted')) === undefined)
    check(`${stage}: its tag went, and it is served`, (await cache.get('tagged')) === undefined)
    check(`${stage}: for ever, and gone`, (await cache.get('for ever')) === 1)
    const loaded = await cache.getOrSet(`loaded:${stage}`, async () => stage)
    check(`${stage}: loaded ${loaded}`, loaded === stage)
    if (size === 'real') {
      const { rows } = await db.query<{ one: number }>('select 1 as one')
      check(`${stage}: no row`, rows[0]?.one === 1)
    }
    check(`${stage}: not healthy`, (await client.health()).status === 'ok')
    // A short time to live is short at any clock that runs.
    await cache.set('brief', 1, { ttlMs: 100 })
    await pause(150)
    check(`${stage}: brief, and there`, (await cache.get('brief')) === undefined)
  }
  await cache.set('a minute', 1, { ttlMs: 60_000 })
  await cache.set('a week', 1, { ttlMs: 7 * DAY_S * 1_000 })
  await cache.set('for ever', 1, { ttlMs: 0 })
  await cache.set('deleted', 1, { ttlMs: 0 })
  await cache.set('tagged', 1, { ttlMs: 0, tags: ['t'] })
  await cache.delete('deleted')
  await cache.invalidateTags(['t'])
  const seen = await beside(client, async () => {
    for (const [name, days] of [
      ['before', 0],
      ['a day ahead', 1],
      ['back', 0],
      ['a day behind', -1],
      ['back again', 0],
    ] as const) {
      stage = name
      clock.set(days * DAY_S)
      await pause(size === 'short' ? 50 : 5_000)
      await works()
      if (name === 'a day ahead') {
        check('a minute is over, and it is served', (await cache.get('a minute')) === undefined)
        check('a week is not over, and it is gone', (await cache.get('a week')) === 1)
      }
    }
  })
  const { workers } = await client.stats()
  const restarts = workers.reduce((sum, worker) => sum + worker.restarts, 0)
  return [
    holds('all as it must be at each clock', wrong.length === 0, wrong.join('; ') || 'yes'),
    holds('no worker was replaced', restarts === 0, `${restarts} restarts`),
    told('requests beside it', shown(2 * seen.count)),
    atMost('the longest wait of these', seen.slowestMs, WAIT_MS_MAX, 'ms'),
  ]
}
