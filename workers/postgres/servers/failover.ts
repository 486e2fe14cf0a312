/** Failover: makes the most advanced replica the primary once the old one is gone for good.
 *  Owns:   the decision, one at a time.   Not here: noticing a promotion (topology.ts), who follows whom then (follow.ts).
 *  Thread: postgres worker. One engine a host promotes; two engines that watch the same servers must not both be told to.
 *  Holds:  (1) nobody is promoted while anything shows that the primary lives: it answers, though it refuses, or a replica still
 *          receives from it.  (2) where the primary waited for replicas before it acknowledged, nobody is promoted unless one of
 *          those that are reachable must have every acknowledged write.  (3) what cannot be done is said, with the words to do it.
 *
 *  primary down ─▶ look at every replica ─ it lives, or too few are there ─▶ again, every POLL_MS
 *                                        └ gone for GONE_MS ─▶ pg_promote on the most advanced ─▶ topology sees a new timeline */

import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../../../engine/clock.ts'
import { log } from '../../../engine/log.ts'
import { promoteAdvice } from './advice.ts'
import { addressOf } from './conninfo.ts'
import type { Server } from './server.ts'
import type { Member, Topology } from './topology.ts'

const POLL_MS = 250
/** A primary that restarts is back sooner, on any machine that should have one. */
const GONE_MS = 3_000
const PROMOTE_MS_MAX = 10_000

export class Failover {
  /** Why nobody is promoted though the primary is down. */
  obstacle: string | undefined
  private readonly topology: Topology
  private isRunning = false
  private isClosed = false

  constructor(topology: Topology) {
    this.topology = topology
  }

  /** The primary is down: sees to it until there is one again. */
  async run(): Promise<void> {
    if (this.isRunning) return
    this.isRunning = true
    const lost = this.topology.primary
    try {
      while (!this.isClosed && this.isLost(lost)) {
        await Promise.all(this.others(lost).map(({ check }) => check.look()))
        if (this.isClosed || !this.isLost(lost)) return
        this.note(this.whyNot(lost))
        const isGone = monotonicMs() - lost.failingSinceMs >= GONE_MS
        if (this.obstacle === undefined && isGone && (await this.promote(lost))) return
        await sleep(POLL_MS, undefined, { ref: false })
      }
    } finally {
      this.isRunning = false
      this.obstacle = undefined
    }
  }

  close(): void {
    this.isClosed = true
  }

  private isLost(lost: Member): boolean {
    return this.topology.primary === lost && lost.server.state === 'down'
  }

  private others(lost: Member): Member[] {
    return this.topology.members.filter(member => member !== lost)
  }

  /** Undefined: it is gone, and may be replaced. */
  private whyNot(lost: Member): string | undefined {
    if (lost.isThere) return `the primary still answers (${lost.server.reason})`
    const reachable = this.others(lost).filter(({ server }) => server.state === 'up')
    const receiving = reachable.find(({ server }) => this.receivesFrom(server, lost))
    if (receiving !== undefined)
      return `replica ${receiving.server.name} still receives from the primary`
    if (this.candidates(lost).length === 0) return 'no replica is up'
    const away = this.others(lost).length - reachable.length
    const needed = acknowledgersOf(lost.server.seen?.syncNames ?? '')
    if (needed > 0 && away >= needed)
      return `the primary waited for ${needed} of its replicas before it acknowledged, and ${away} are not reachable: one of them may have writes that no other has`
    return undefined
  }

  /** It streams, and from none of the other servers that we know. */
  private receivesFrom(server: Server, lost: Member): boolean {
    const { isStreaming, senderHost, senderPort } = server.seen!
    if (!isStreaming) return false
    return !this.others(lost).some(({ server: other }) => {
      const { host, port } = addressOf(other.spec.url)
      return other !== server && host === senderHost && port === senderPort
    })
  }

  private candidates(lost: Member): Member[] {
    return this.others(lost)
      .filter(({ server }) => server.state === 'up' && server.seen?.isStandby)
      .filter(({ server }) => server.seen!.timeline >= this.topology.timeline)
      .toSorted((a, b) => b.server.seen!.receivedLsn - a.server.seen!.receivedLsn)
  }

  private async promote(lost: Member): Promise<boolean> {
    const [best] = this.candidates(lost)
    const { server, check } = best!
    const fields = { database: this.topology.name }
    log(
      'warn',
      `database "${this.topology.name}": promoting ${server.name}: the primary is gone`,
      fields,
    )
    try {
      await check.probe.ask(`select pg_promote(true, ${PROMOTE_MS_MAX / 1_000})`, PROMOTE_MS_MAX)
    } catch (error) {
      this.note(
        `${server.name} could not be promoted: ${(error as Error).message}`,
        promoteAdvice(server),
      )
    }
    await check.look()
    return this.topology.primary !== lost
  }

  private note(obstacle: string | undefined, mend?: string): void {
    if (obstacle !== undefined && obstacle !== this.obstacle) {
      const text = `database "${this.topology.name}": no replica is promoted: ${obstacle}`
      log('error', text, { database: this.topology.name, mend })
    }
    this.obstacle = obstacle
  }
}

/** How many standbys must have a write before it is acknowledged, by synchronous_standby_names. */
export function acknowledgersOf(syncNames: string): number {
  if (syncNames.trim() === '') return 0
  const found = /^\s*(?:(?:any|first)\s+)?(\d+)\s*\(/i.exec(syncNames)
  return found === null ? 1 : Number(found[1])
}
