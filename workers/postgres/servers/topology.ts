/** Topology: which server is the primary, which are its replicas, and how each of them is.
 *  Owns:   the servers' states, the highest timeline ever seen.   Not here: looking (health_check.ts), promoting (failover.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) roles are what the servers say of themselves, never what the configuration calls them.  (2) of two that call
 *          themselves primary the one on the higher timeline is it; the other is fenced, and nothing is sent to it.  (3) a server
 *          below the highest timeline that was ever seen is never written to, be it the only one there. */

import { monotonicMs } from '../../../engine/clock.ts'
import { log } from '../../../engine/log.ts'
import type { ClusterOptions } from '../database.ts'
import { rewindAdvice } from './advice.ts'
import type { HealthCheck } from './health_check.ts'
import type { Observation } from './observation.ts'
import type { Server } from './server.ts'
import type { Strand } from './stranded.ts'
import { WalHistory } from './wal_history.ts'

export interface Member {
  readonly server: Server
  readonly check: HealthCheck
  /** monotonicMs of the first failure since it was last up. */
  failingSinceMs: number
  /** Something answered at the last look, though it refused. */
  isThere: boolean
  /** Said already: it lags, or cannot catch up. */
  warned: 'no' | 'lags' | 'out'
  /** It can never catch up by itself. */
  strand: Strand | undefined
  /** What an operator is to do about it. */
  advice: string | undefined
}

export interface TopologyEvents {
  primaryChanged(primary: Server, before: Server): void
  /** What waits there, or reads, is better asked elsewhere. */
  unfit(server: Server): void
  /** The primary has failed a look; `isDown`: as many as make it down. */
  primaryFailed(isDown: boolean): void
  /** A look is over that found something out. */
  looked(): void
}

export class Topology {
  readonly name: string
  members: readonly Member[] = []
  timeline = 0
  readonly history = new WalHistory()
  failovers = 0
  private current: Member | undefined
  private systemId = ''
  private readonly options: ClusterOptions
  private readonly events: TopologyEvents
  private isShort = false

  constructor(name: string, options: ClusterOptions, events: TopologyEvents) {
    this.name = name
    this.options = options
    this.events = events
  }

  /** Where writes go: the first one until somebody says otherwise. */
  get primary(): Member {
    return this.current ?? this.members[0]!
  }

  /** Nothing may be written now: who was the primary is none any more, and nobody else is yet. */
  get isFenced(): boolean {
    return this.primary.server.state === 'fenced'
  }

  get replicas(): Member[] {
    return this.members.filter(member => member.server.isStandby)
  }

  seen(member: Member, seen: Observation): void {
    const { server } = member
    if (!this.belongs(seen))
      return this.failed(member, OTHER_CLUSTER, true, this.options.health.retries)
    const before = server.state
    server.seen = withTimeline(seen, server.seen)
    server.reason = undefined
    member.failingSinceMs = 0
    member.isThere = true
    this.timeline = Math.max(this.timeline, server.seen.timeline)
    server.state = 'up'
    this.decide()
    this.findStrays()
    if (server.state === 'up') {
      server.admission.probeSucceeded()
      server.becomes(seen.isStandby ? `replica:${server.name}` : 'primary')
      if (before === 'down') this.tell('info', `server ${server.name} is up again`)
      if (member === this.primary && !seen.isStandby) this.history.note(seen.lsn, seen.askedMs)
      this.judgeLag(member, seen)
    }
    this.countReplicas()
    this.events.looked()
  }

  failed(member: Member, why: string, isThere: boolean, failuresInRow: number): void {
    const { server } = member
    if (member.failingSinceMs === 0) member.failingSinceMs = monotonicMs()
    member.isThere = isThere
    server.reason = why
    const isDown = failuresInRow >= this.options.health.retries
    if (isDown && server.state !== 'down')
      this.tell('error', `server ${server.name} is down: ${why}`)
    server.state = isDown ? 'down' : 'suspect'
    this.events.unfit(server)
    if (member === this.primary) this.events.primaryFailed(isDown)
    this.countReplicas()
    this.events.looked()
  }

  /** A look at it takes longer than a healthy server needs: its reads are better asked elsewhere until it is answered. Early, only
   *  where a replica is left that answers. */
  overdue(member: Member, isEarly: boolean): void {
    const { server } = member
    if (server.state !== 'up') return
    if (isEarly && !this.replicas.some(each => each !== member && this.isFit(each))) return
    server.state = 'suspect'
    server.reason = 'it has not answered a look yet'
    this.events.unfit(server)
  }

  /** A connection to it was lost, or it refused as no healthy server does: others are asked until a look has passed. */
  suspect(server: Server, why: string): void {
    const member = this.members.find(each => each.server === server)
    if (member === undefined) return
    if (server.state === 'up' || server.state === 'unknown') {
      server.state = 'suspect'
      server.reason = why
      this.events.unfit(server)
    }
    void member.check.look()
  }

  /** Replicas that reads may go to now. */
  fitCount(): number {
    return this.replicas.filter(each => this.isFit(each)).length
  }

  private isFit({ server }: Member): boolean {
    return server.state === 'up' && !server.isAstray && server.lagMs <= this.options.maxLagMs
  }

  get replicasWanted(): number {
    return Math.min(this.options.minReplicas, this.members.length - 1)
  }

  private belongs({ systemId }: Observation): boolean {
    if (this.systemId === '') this.systemId = systemId
    return systemId === '' || systemId === this.systemId
  }

  private decide(): void {
    const claims = this.members.filter(
      ({ server }) => server.seen?.isStandby === false && server.state !== 'down',
    )
    const { primary } = this
    let best: Member | undefined
    for (const member of claims) {
      const timeline = member.server.seen!.timeline
      if (timeline < this.timeline) continue
      if (best === undefined || member === primary) best = member
    }
    if (best !== undefined && best !== primary) this.change(best, primary)
    for (const member of claims) if (member !== best) this.fence(member)
  }

  private change(member: Member, before: Member): void {
    const isFirst = this.current === undefined && before.server.seen?.isStandby !== false
    this.current = member
    this.history.clear()
    member.advice = undefined
    member.strand = undefined
    if (!isFirst) this.failovers++
    const { server } = member
    server.becomes('primary')
    this.tell(
      'warn',
      `${server.name} is the primary now, on timeline ${server.seen!.timeline}; it was ${before.server.name}`,
    )
    this.events.primaryChanged(server, before.server)
  }

  /** One that was left behind by a promotion may be ahead of where the new timeline began: what it has there is nobody's. */
  private findStrays(): void {
    for (const { server } of this.members) {
      const { seen, isAstray } = server
      server.isAstray = seen?.isStandby === true && seen.timeline < this.timeline
      if (server.isAstray && !isAstray) this.events.unfit(server)
    }
  }

  private fence(member: Member): void {
    const { server } = member
    // As long as nobody else is the primary there is nobody to be copied from.
    const isNew = member.advice === undefined && member !== this.primary
    server.state = 'fenced'
    server.reason = `an old primary, on timeline ${server.seen!.timeline} of ${this.timeline}: nothing is sent to it`
    this.events.unfit(server)
    if (!isNew) return
    member.advice = rewindAdvice(server, this.primary.server)
    this.tell('error', `server ${server.name} is ${server.reason}`, { mend: member.advice })
  }

  private judgeLag(member: Member, { isStandby, lsn, askedMs }: Observation): void {
    const { server } = member
    server.lagMs = isStandby ? this.history.lagMs(lsn, askedMs) : 0
    const { maxLagMs, warnLagMs } = this.options
    const found = server.lagMs > maxLagMs ? 'out' : server.lagMs > warnLagMs ? 'lags' : 'no'
    if (found === member.warned) return
    const text = `replica ${server.name} is ${Math.round(server.lagMs)} ms behind the primary`
    if (found === 'out') this.tell('warn', `${text}: it serves no reads until it has caught up`)
    else if (found === 'lags' && member.warned === 'no') this.tell('warn', text)
    else if (found === 'no') this.tell('info', `replica ${server.name} has caught up`)
    member.warned = found
  }

  private countReplicas(): void {
    if (this.members.some(({ server }) => server.state === 'unknown')) return
    const [fit, wanted] = [this.fitCount(), this.replicasWanted]
    if (fit < wanted === this.isShort) return
    this.isShort = fit < wanted
    this.tell(
      this.isShort ? 'warn' : 'info',
      `${fit} of ${this.members.length - 1} replicas serve reads; postgres.${this.name}.min_replicas wants ${wanted}`,
    )
  }

  private tell(level: 'info' | 'warn' | 'error', text: string, fields = {}): void {
    log(level, `database "${this.name}": ${text}`, { database: this.name, ...fields })
  }
}

/** A standby that receives nothing at the moment names the timeline of its last restart point; it never goes back to that. */
function withTimeline(seen: Observation, before: Observation | undefined): Observation {
  if (!seen.isStandby || before?.isStandby !== true || seen.timeline >= before.timeline) return seen
  return { ...seen, timeline: before.timeline }
}

const OTHER_CLUSTER =
  'it is of another cluster than the other servers of this database: check its url'
