/** Cluster: the servers of a database that has replicas: which one takes a statement, and what is learned from its answer.
 *  Owns:   health checks, topology, floors, failover.   Not here: the pools (server.ts), the statements (../postgres_database.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) only a proven read leaves the primary.  (2) a read never goes to a replica that is behind its client's last write.
 *          (3) only lost connections and failed looks make a server unfit, never a slow statement or an error in one. */

import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../../../engine/clock.ts'
import { HearthError } from '../../../engine/errors.ts'
import { PRIORITY } from '../../../engine/protocol/spec.ts'
import type { ClusterOptions, ServerFigures } from '../database.ts'
import { isAnswer, isTransportFault, knownOf } from '../fault.ts'
import type { SharedJob } from '../shared_job.ts'
import { Failover } from './failover.ts'
import { FloorClock } from './floor_clock.ts'
import { Follow } from './follow.ts'
import { HealthCheck } from './health_check.ts'
import type { Server } from './server.ts'
import { ServerChoice } from './server_choice.ts'
import { STRAND_TEXT } from './stranded.ts'
import { type Member, Topology } from './topology.ts'

export interface ClusterEvents {
  /** Writes go elsewhere from now on; what waits at `before` may go along. */
  primaryChanged(primary: Server, before: Server): void
  /** What waits there, or reads, is better asked elsewhere. */
  unfit(server: Server): void
  /** A look was over: what waited for one may go. */
  looked(): void
}

/** While statements come, replicas are looked at this often: their lag is known to the second. */
const LOOK_MS = 1_000
const SETTLE_MS_MAX = 800
/** A server with statements open and no answer for so long is looked at. */
const SILENT_MS = 100
/** One that is at long statements is looked at no more often than this. */
const SILENT_LOOK_MS = 200
/** Replicas that are behind a client are asked again how far they are, at most this often. */
const CATCH_UP_MS = 15

export class Cluster {
  readonly topology: Topology
  readonly failover: Failover
  /** Every server was looked at once, or has had its time: before that an old primary could be taken for the present one. */
  readonly settled: Promise<unknown>
  private readonly options: ClusterOptions
  private readonly choice: ServerChoice
  private readonly clock: FloorClock | undefined
  private readonly follow: Follow
  private silence: NodeJS.Timeout | undefined
  private nextLookMs = 0
  private nextCatchUpMs = 0

  constructor(
    name: string,
    servers: readonly Server[],
    options: ClusterOptions,
    events: ClusterEvents,
  ) {
    this.options = options
    this.choice = new ServerChoice(options.maxLagMs)
    this.topology = new Topology(name, options, {
      primaryChanged: (primary, before) => {
        this.clock?.askSoon()
        events.primaryChanged(primary, before)
      },
      unfit: server => events.unfit(server),
      primaryFailed: isDown => {
        // Somebody may have promoted another one already.
        this.lookAround(monotonicMs())
        if (isDown && options.failover === 'promote') void this.failover.run()
      },
      looked: () => {
        this.follow.look()
        events.looked()
      },
    })
    this.failover = new Failover(this.topology)
    this.follow = new Follow(this.topology, options.failover === 'promote')
    this.topology.members = servers.map(server => this.member(server))
    if (options.readYourWrites) this.clock = this.floorClock()
    const looks = this.topology.members.map(({ check }) => check.look())
    this.settled = Promise.race([Promise.all(looks), sleep(SETTLE_MS_MAX, [], { ref: false })])
  }

  get primary(): Server {
    return this.topology.primary.server
  }

  /** The server for a statement: the one place where that is decided. Throws UNAVAILABLE where none may have it. */
  serverFor(isRead: boolean, client: number, nowMs: number): Server {
    return this.serverAt(isRead, this.clock?.floors.of(client) ?? 0, nowMs, undefined)
  }

  /** The same for a job. */
  serverOf(job: SharedJob, nowMs: number, except?: Server): Server {
    const { isRead, isFresh, client, priority } = job
    const floor = isFresh ? Number.POSITIVE_INFINITY : (this.clock?.floors.of(client) ?? 0)
    const server = this.serverAt(isRead, floor, nowMs, except)
    if (!isRead || priority !== PRIORITY.critical || server === this.primary) return server
    return this.quicker(server, nowMs, except)
  }

  private serverAt(
    isRead: boolean,
    floor: number,
    nowMs: number,
    except: Server | undefined,
  ): Server {
    const { primary } = this
    if (nowMs >= this.nextLookMs) this.lookAround(nowMs)
    if (!isRead) {
      if (this.topology.isFenced) throw fencedError(this.topology.name, primary)
      return primary
    }
    const { members } = this.topology
    const replica = this.choice.replica(members, floor, nowMs, except)
    if (replica !== undefined) return replica
    if (this.choice.isBehind && floor < Number.POSITIVE_INFINITY) this.catchUp(nowMs)
    const isPrimaryUp = primary.state === 'up' && primary !== except
    if (this.choice.isBehind && isPrimaryUp) return primary
    return this.withoutReplica(floor, isPrimaryUp, except)
  }

  /** For what is critical: the primary, when it is up and would answer sooner. */
  private quicker(replica: Server, nowMs: number, except: Server | undefined): Server {
    const { primary } = this
    const isFit = primary.state === 'up' && primary !== except
    return isFit && this.choice.isQuicker(primary, replica, nowMs) ? primary : replica
  }

  /** Every server that may answer is looked at now. */
  lookAround(nowMs: number): void {
    this.nextLookMs = nowMs + LOOK_MS
    for (const { check, server } of this.topology.members)
      if (server.state !== 'down') void check.look()
  }

  /** A client's write is over, or may be. Called before the client is told. */
  wrote(client: number): void {
    this.clock?.wrote(client)
  }

  /** Given to a server; ended() follows. */
  begun(server: Server, nowMs: number): void {
    if (server.open++ === 0) server.lastEndMs = nowMs
    this.silence ??= setInterval(() => this.findSilent(), SILENT_MS).unref()
  }

  /** What became of a statement: the one place where that is learned. `error`: undefined for an answer. */
  ended(server: Server, job: SharedJob, error: HearthError | undefined): void {
    const nowMs = monotonicMs()
    if (server.open > 0) server.open--
    if (error === undefined) server.noteLatency(nowMs - job.sentMs, nowMs)
    else server.lastEndMs = nowMs
    if (error !== undefined && isTransportFault(error)) this.topology.suspect(server, error.message)
    else if (error?.code === 'READ_ONLY' || error?.code === 'TIMEOUT') this.lookAt(server)
    if (!job.isRead && mayStand(error)) this.wrote(job.client)
  }

  /** A connection of its pools was lost. */
  lost(server: Server): void {
    this.topology.suspect(server, 'a connection was lost')
  }

  stats(): ServerFigures[] {
    return this.topology.members.map(({ server, strand, advice }) => {
      const { inUse, idle, size, waiting, queries, errors, down } = server.stats()
      return {
        name: server.name,
        role: server === this.primary ? 'primary' : 'replica',
        state: server.state,
        reason: server.reason,
        strand,
        advice,
        timeline: server.seen?.timeline ?? null,
        lsn: server.seen?.lsn ?? null,
        lagMs: server.lagMs,
        isStreaming: server.seen?.isStreaming ?? false,
        latencyMs: server.latencyMs,
        cpu: server.cpu.share ?? null,
        open: server.open,
        inUse,
        idle,
        size,
        waiting,
        queries,
        errors,
        down,
      }
    })
  }

  /** What is wrong with the whole, in words; undefined: nothing, or nothing is known yet. */
  problem(): string | undefined {
    const { topology, failover } = this
    if (topology.members.some(({ server }) => server.state === 'unknown')) return undefined
    const found = topology.members.flatMap(({ server, strand, advice }) => {
      const isWell = server.state === 'up' && !server.isAstray
      if (isWell && server.lagMs <= this.options.maxLagMs && advice === undefined) return []
      const lag =
        server.state === 'up' && server.lagMs > 0 ? `${Math.round(server.lagMs)} ms behind` : ''
      const stray = server.isAstray
        ? `on timeline ${server.seen!.timeline} of ${topology.timeline}`
        : ''
      const why = strand === undefined ? server.reason : STRAND_TEXT[strand]
      const what = [server.state === 'up' ? lag : server.state, stray, why, advice]
      return [`${server.name}: ${what.filter(Boolean).join(', ')}`]
    })
    if (failover.obstacle !== undefined) found.unshift(`no failover: ${failover.obstacle}`)
    const fit = topology.fitCount()
    if (fit < topology.replicasWanted)
      found.unshift(`${fit} replicas serve reads, ${topology.replicasWanted} are wanted`)
    return found.length === 0 ? undefined : found.join('; ')
  }

  close(): void {
    clearInterval(this.silence)
    this.failover.close()
    this.follow.close()
    this.clock?.close()
    for (const { check } of this.topology.members) check.close()
  }

  private withoutReplica(floor: number, isPrimaryUp: boolean, except: Server | undefined): Server {
    const { primary, topology, options } = this
    const isKnown = topology.members.every(({ server }) => server.state !== 'unknown')
    if (options.replicasDown === 'refuse' && isKnown) throw noReplicaError(topology.name)
    if (isPrimaryUp && options.replicasDown === 'primary') return primary
    const least = this.choice.leastBad(topology.members, floor, except)
    if (least !== undefined) return least
    if (topology.isFenced) throw fencedError(topology.name, primary)
    return primary
  }

  private member(server: Server): Member {
    const member: Member = {
      server,
      check: new HealthCheck(server.spec, server.cpu, this.options.health, {
        seen: observation => this.topology.seen(member, observation),
        overdue: isEarly => this.topology.overdue(member, isEarly),
        failed: (why, inRow, isThere) => this.topology.failed(member, why, isThere, inRow),
      }),
      failingSinceMs: 0,
      isThere: false,
      warned: 'no',
      strand: undefined,
      advice: undefined,
    }
    return member
  }

  private floorClock(): FloorClock {
    const clock = new FloorClock(() => this.primary)
    clock.onPosition = (lsn, atMs) => this.topology.history.note(lsn, atMs)
    clock.askSoon()
    return clock
  }

  /** By the clock: those who would ask may all be waiting for a server that is silent. */
  private findSilent(): void {
    const nowMs = monotonicMs()
    let open = 0
    for (const { server, check } of this.topology.members) {
      open += server.open
      const lookedMs = server.seen?.askedMs ?? 0
      const isSilent = server.open > 0 && nowMs - server.lastEndMs > SILENT_MS
      if (isSilent && nowMs - lookedMs > SILENT_LOOK_MS) void check.look()
    }
    if (open > 0) return
    clearInterval(this.silence)
    this.silence = undefined
  }

  private lookAt(server: Server): void {
    const member = this.topology.members.find(each => each.server === server)
    void member?.check.look()
  }

  private catchUp(nowMs: number): void {
    if (nowMs < this.nextCatchUpMs) return
    this.nextCatchUpMs = nowMs + CATCH_UP_MS
    for (const { server, check } of this.topology.members)
      if (this.choice.isFit(server)) void check.look()
  }
}

/** Whether something of a write may stand: an error of the statement itself says that nothing does. */
function mayStand(error: HearthError | undefined): boolean {
  if (error === undefined || error.code === 'VALUE_TOO_LARGE') return true
  return !isAnswer(error) && knownOf(error).mayHaveRun
}

function fencedError(name: string, server: Server): HearthError {
  return new HearthError(
    'UNAVAILABLE',
    `database "${name}" has no primary: ${server.name} is ${server.reason}; nothing was sent`,
  )
}

function noReplicaError(name: string): HearthError {
  return new HearthError(
    'UNAVAILABLE',
    `no replica of database "${name}" can serve reads, and postgres.${name}.replicas_down is "refuse"; nothing was sent`,
  )
}
