/** ServerHealth: looks at the one server of a database without replicas, so that its death is known though nobody asks it anything.
 *  Owns:   one connection for that, a timer.   Not here: databases with replicas (servers/health_check.ts), which are told more.
 *  Thread: postgres worker.
 *  Holds:  (1) never one of the pool's connections: a full pool says nothing of its server.  (2) one look at a time, over within
 *          the timeout.  (3) `retries` failed looks in a row make it down, one that passes makes it up again; a lost connection is a
 *          reason to look at once.
 *
 *  The connection is a lane, which costs the 32 KB of libpq's buffers: pg-native is not loaded for it, nor is anything of servers/. */

import { monotonicMs } from '../../engine/clock.ts'
import { log } from '../../engine/log.ts'
import type { Admission } from './admission.ts'
import type { HealthOptions, PoolSpec } from './database.ts'
import { oneLine } from './errors.ts'
import type { Lane } from './lane.ts'
import { openLane } from './lane_dial.ts'
import { withName } from './session.ts'

/** Between one failed look and the next. */
const RETRY_MS = 500
/** Its own connection found no room: the server is well, and full. */
const FULL = /too many (clients|connections)|connection slots/

export class ServerHealth {
  /** Why it is down; undefined: it is not, or nothing is known yet. */
  down: string | undefined
  private readonly spec: PoolSpec
  private readonly options: HealthOptions
  private readonly admission: Admission
  private lane: Lane | undefined
  /** An attempt that is still under way is waited for, and not joined by a second: a frozen server would collect them. */
  private opening: Promise<Lane> | undefined
  private timer: NodeJS.Timeout | undefined
  private isLooking = false
  private failuresInRow = 0
  private isClosed = false

  constructor(spec: PoolSpec, options: HealthOptions, admission: Admission) {
    this.spec = { ...spec, url: withName(spec.url) }
    this.options = options
    this.admission = admission
    this.arm(0)
  }

  close(): void {
    this.isClosed = true
    clearTimeout(this.timer)
    this.lane?.close('the engine is shutting down')
  }

  private async look(): Promise<void> {
    if (this.isLooking || this.isClosed) return
    this.isLooking = true
    const { timeoutMs, intervalMs } = this.options
    let timer: NodeJS.Timeout | undefined
    const silent = new Promise<string>(resolve => {
      timer = setTimeout(() => resolve(`no answer within ${timeoutMs} ms`), timeoutMs)
    })
    const problem = await Promise.race([this.ask(), silent])
    clearTimeout(timer)
    this.isLooking = false
    if (this.isClosed) return
    if (problem === undefined || FULL.test(problem)) this.passed()
    else this.failed(problem)
    this.arm(this.failuresInRow > 0 ? Math.min(RETRY_MS, intervalMs) : intervalMs)
  }

  /** What is wrong; undefined: nothing. */
  private async ask(): Promise<string | undefined> {
    try {
      const lane = this.lane ?? (await this.open())
      return await lane.run(';', monotonicMs())
    } catch (error) {
      return (error as Error).message
    }
  }

  private open(): Promise<Lane> {
    this.opening ??= openLane(this.spec, { hits: 0, misses: 0, evictions: 0, mended: 0 })
      .then(lane => {
        this.lane = lane
        lane.attach({
          answered: () => {},
          turned: () => {},
          lost: () => {
            if (this.lane !== lane) return
            this.lane = undefined
            this.arm(0)
          },
        })
        if (this.isClosed) lane.close('no longer needed')
        return lane
      })
      .finally(() => {
        this.opening = undefined
      })
    return this.opening
  }

  private passed(): void {
    this.failuresInRow = 0
    if (this.down === undefined) return
    this.down = undefined
    this.admission.probeSucceeded()
    this.tell('info', 'its server is up again')
  }

  private failed(problem: string): void {
    this.failuresInRow++
    const { lane } = this
    this.lane = undefined
    lane?.close('no answer')
    const why = oneLine(problem)
    if (this.failuresInRow < this.options.retries) return
    if (this.down === undefined) this.tell('error', `its server is down: ${why}`)
    this.down = why
  }

  private arm(afterMs: number): void {
    clearTimeout(this.timer)
    if (this.isClosed) return
    this.timer = setTimeout(() => void this.look(), afterMs).unref()
  }

  private tell(level: 'info' | 'error', text: string): void {
    const { name } = this.spec
    log(level, `database "${name}": ${text}`, { database: name })
  }
}
