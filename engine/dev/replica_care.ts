/** Replica care: mends what of `hearth dev`'s servers cannot help itself: one that ended, one that can never catch up.
 *  Owns:   the watch, the attempts.   Not here: how it is found out (the engine looks at its servers), the copying (data_copy.ts).
 *  Thread: main.
 *  Holds:  (1) the server that the engine writes to is never touched.  (2) a copy is made beside the old directory and swapped in when
 *          it is whole.  (3) what had left the primary's history is kept aside, once: it may have what nobody else has.
 *          (4) one server at a time, ATTEMPT_COUNT_MAX attempts in a row, each pause twice the last.
 *
 *      ended ─▶ started ─ it does not start ─▶ ┐
 *      starved, diverged, an old primary ─────▶ copied anew ─▶ streams: well ─ fails ─▶ pause ─▶ again … ─▶ left alone */

import { existsSync, renameSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth } from '../client/index.ts'
import { monotonicMs } from '../clock.ts'
import { copyRunning } from './data_copy.ts'
import { type DevServer, type DevServers, firstLine, REMOVE } from './dev_servers.ts'

const WATCH_MS = 1_000
export const ATTEMPT_COUNT_MAX = 5
const PAUSE_MS = 1_000
/** A server that has streamed for so long is well: its attempts are forgotten. */
const WELL_MS = 30_000
/** Its engine's transaction may not be idle for longer than a minute. */
const SIGN_MS = 10_000

/** What happened to a server, for the screen and the log. */
export interface CareEvent {
  readonly server: string
  readonly what: 'restarting' | 'copying' | 'mended' | 'failed' | 'given up'
  readonly sentence: string
}

/** What the engine knows of a server: a row of stats().pools.main.servers. */
interface Figures {
  readonly name: string
  readonly role: 'primary' | 'replica'
  readonly state: string
  readonly strand?: 'starved' | 'diverged'
  readonly advice?: string
  readonly isStreaming: boolean
}

interface Care {
  attempts: number
  nextMs: number
  wellSinceMs: number
  isGivenUp: boolean
}

export class ReplicaCare {
  private readonly servers: DevServers
  private readonly hearth: Hearth
  private readonly tell: (event: CareEvent) => void
  private readonly records = new Map<DevServer, Care>()
  private readonly end = new AbortController()
  private readonly over: Promise<void>

  constructor(servers: DevServers, hearth: Hearth, tell: (event: CareEvent) => void) {
    this.servers = servers
    this.hearth = hearth
    this.tell = tell
    this.over = this.watch()
  }

  /** Resolves when nothing is being mended any more. */
  async stop(): Promise<void> {
    this.end.abort()
    await this.over
    await this.hearth.close()
  }

  private async watch(): Promise<void> {
    const { signal } = this.end
    while (!signal.aborted) {
      await sleep(WATCH_MS, undefined, { signal }).catch(() => undefined)
      if (signal.aborted) return
      const figures = await this.figures()
      for (const server of this.servers.all) {
        if (signal.aborted) return
        await this.see(server, figures)
      }
    }
  }

  private async figures(): Promise<Figures[]> {
    try {
      const { pools } = await this.hearth.stats()
      return (pools['main']?.['servers'] ?? []) as Figures[]
    } catch {
      return [] // the engine is busy, or ending
    }
  }

  private async see(server: DevServer, all: readonly Figures[]): Promise<void> {
    const own = all.find(({ name }) => name === server.name)
    const primary = this.primaryOf(all)
    if (own === undefined || primary === undefined || primary === server) return
    const record = this.recordOf(server)
    const nowMs = monotonicMs()
    const isEnded = server.server?.pid === undefined
    const why = isEnded ? 'it has ended' : ailment(own)
    if (why === undefined) return this.well(own, record, nowMs)
    if (record.isGivenUp || nowMs < record.nextMs) return
    if (record.attempts >= ATTEMPT_COUNT_MAX) return this.giveUp(server, record, why)
    record.attempts++
    record.wellSinceMs = 0
    try {
      const isStarted = isEnded && record.attempts === 1 && (await this.restart(server, primary))
      if (!isStarted) await this.copy(server, primary, own, why)
      this.say(server, 'mended', `${titleOf(server)} is at work again`)
    } catch (error) {
      if (this.end.signal.aborted) return
      this.say(server, 'failed', `${titleOf(server)} could not be mended: ${firstLine(error)}`)
    }
    record.nextMs = monotonicMs() + PAUSE_MS * 2 ** record.attempts
  }

  /** The server that takes writes, as the engine sees it; undefined while there is none. */
  private primaryOf(all: readonly Figures[]): DevServer | undefined {
    const found = all.find(({ role, state }) => role === 'primary' && state === 'up')
    const server = this.servers.all.find(({ name }) => name === found?.name)
    return server?.server?.pid === undefined ? undefined : server
  }

  private well(own: Figures, record: Care, nowMs: number): void {
    if (own.state !== 'up' || !own.isStreaming) record.wellSinceMs = 0
    else if (record.wellSinceMs === 0) record.wellSinceMs = nowMs
    else if (nowMs - record.wellSinceMs > WELL_MS) {
      record.attempts = 0
      record.isGivenUp = false
    }
  }

  private async restart(server: DevServer, primary: DevServer): Promise<boolean> {
    this.say(server, 'restarting', `${titleOf(server)} has ended: starting it again`)
    try {
      this.servers.point(server, primary)
      await this.servers.run(server)
      return true
    } catch {
      return false
    }
  }

  private async copy(
    server: DevServer,
    primary: DevServer,
    { state, strand }: Figures,
    why: string,
  ): Promise<void> {
    this.say(server, 'copying', `${titleOf(server)}: ${why}: copying it anew from the primary`)
    const { dataDir } = server
    const [fresh, old] = [`${dataDir}.new`, `${dataDir}.old`]
    rmSync(fresh, REMOVE)
    await this.copyBeside(primary, fresh)
    await server.server?.stop()
    rmSync(old, REMOVE)
    if (existsSync(dataDir)) renameSync(dataDir, old)
    renameSync(fresh, dataDir)
    this.servers.point(server, primary)
    await this.servers.run(server)
    if (state !== 'fenced' && strand !== 'diverged') rmSync(old, REMOVE)
  }

  /** In a transaction of the engine's, as any client has it: a base backup belongs to one session. */
  private async copyBeside(primary: DevServer, fresh: string): Promise<void> {
    await this.hearth.db.transaction(async tx => {
      const session = async (sql: string) => (await tx.query(sql)).rows
      const sign = setInterval(() => void tx.query('select 1').catch(() => {}), SIGN_MS)
      try {
        await copyRunning(session, primary.dataDir, fresh, this.servers.user)
      } finally {
        clearInterval(sign)
      }
    })
  }

  private giveUp(server: DevServer, record: Care, why: string): void {
    record.isGivenUp = true
    const what = `${why}, and ${ATTEMPT_COUNT_MAX} attempts to mend it have failed`
    const mend = `stop \`hearth dev\`, remove ${server.dataDir} and start it again`
    this.say(server, 'given up', `${titleOf(server)}: ${what}; ${mend}`)
  }

  private recordOf(server: DevServer): Care {
    let record = this.records.get(server)
    if (record === undefined) {
      record = { attempts: 0, nextMs: 0, wellSinceMs: 0, isGivenUp: false }
      this.records.set(server, record)
    }
    return record
  }

  private say({ name }: DevServer, what: CareEvent['what'], sentence: string): void {
    this.tell({ server: name, what, sentence })
  }
}

/** Why it cannot help itself; undefined: it is well, or may become so. */
function ailment({ state, strand, advice, role }: Figures): string | undefined {
  if (state === 'fenced') return 'it was the primary, before another was promoted'
  if (strand === 'starved') return 'the primary no longer has the log that it needs'
  if (strand === 'diverged') return "it has left the primary's history"
  // The engine has watched it in vain for long.
  return role === 'replica' && state === 'up' && advice !== undefined
    ? 'it receives nothing from the primary'
    : undefined
}

function titleOf({ name }: DevServer): string {
  return name === 'url' ? 'the first Postgres server' : `replica ${name}`
}
