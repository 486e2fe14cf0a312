/** Follow: has replicas that receive from nobody follow the primary, and says what is to be done where that is not possible.
 *  Owns:   one attempt at a time, and when the next may be.   Not here: promoting (failover.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) a replica that receives, be it from another replica, is left alone.  (2) nothing but host and port of its
 *          primary_conninfo is changed; the slot it names is made at the new primary.  (3) only where the engine may promote. */

import { monotonicMs } from '../../../engine/clock.ts'
import { log } from '../../../engine/log.ts'
import { copyAdvice, followAdvice } from './advice.ts'
import { addressOf, withAddress } from './conninfo.ts'
import type { Member, Topology } from './topology.ts'

const ASK_MS_MAX = 2_000
/** Time for a replica to connect by itself: Postgres tries every five seconds. */
const PATIENCE_MS = 12_000

interface Since {
  atMs: number
  isPointed: boolean
}

export class Follow {
  private readonly topology: Topology
  private readonly mayChange: boolean
  /** Since when each has been without a sender while the primary was up, and what was tried. */
  private readonly since = new Map<Member, Since>()
  private isBusy = false

  constructor(topology: Topology, mayChange: boolean) {
    this.topology = topology
    this.mayChange = mayChange
  }

  /** Called after every look. */
  look(): void {
    const { primary, members } = this.topology
    if (primary.server.state !== 'up' || primary.server.seen?.isStandby !== false) return
    for (const member of members) {
      const { state, seen } = member.server
      if (member === primary || state !== 'up' || seen?.isStandby !== true || seen.isStreaming) {
        if (this.since.delete(member) && state === 'up') member.advice = undefined
        continue
      }
      const known = this.since.get(member)
      if (known === undefined) this.since.set(member, { atMs: monotonicMs(), isPointed: false })
      else {
        const isLate = monotonicMs() - known.atMs > PATIENCE_MS
        // After a failover its sender is gone for good; else it may be on its way back.
        const isOrphan = isLate || this.topology.failovers > 0
        if (isOrphan && this.mayChange && !known.isPointed) {
          known.isPointed = true
          known.atMs = monotonicMs()
          void this.point(member)
        } else if (isLate) this.report(member)
      }
    }
  }

  private async point(member: Member): Promise<void> {
    if (this.isBusy) {
      this.since.get(member)!.isPointed = false
      return
    }
    this.isBusy = true
    const { primary } = this.topology
    const { probe } = member.check
    const { name } = member.server
    try {
      const [row] = await probe.ask(
        `select current_setting('primary_conninfo') as conninfo, current_setting('primary_slot_name') as slot`,
        ASK_MS_MAX,
      )
      const slot = String(row?.['slot'] ?? '')
      if (slot !== '') await primary.check.probe.ask(makeSlot(slot), ASK_MS_MAX)
      const conninfo = withAddress(
        String(row?.['conninfo'] ?? ''),
        addressOf(primary.server.spec.url),
      )
      await probe.ask(`alter system set primary_conninfo = ${literal(conninfo)}`, ASK_MS_MAX)
      await probe.ask('select pg_reload_conf()', ASK_MS_MAX)
      this.tell('info', `replica ${name} follows ${primary.server.name} now`)
    } catch (error) {
      member.advice = followAdvice(member.server, primary.server)
      this.tell(
        'error',
        `replica ${name} could not be told to follow: ${(error as Error).message}`,
        {
          mend: member.advice,
        },
      )
    } finally {
      this.isBusy = false
    }
  }

  private report(member: Member): void {
    const { primary } = this.topology
    const isBehind = member.server.seen!.lsn < primary.server.seen!.lsn
    if (!isBehind || member.advice !== undefined) return
    const isPointed = this.since.get(member)?.isPointed === true
    const again = copyAdvice(member.server, primary.server)
    const follow = followAdvice(member.server, primary.server)
    member.advice = isPointed ? again : `${follow} If the primary has no more WAL for it: ${again}`
    const text = `replica ${member.server.name} receives nothing and is behind`
    this.tell('error', text, { mend: member.advice })
  }

  private tell(level: 'info' | 'error', text: string, fields = {}): void {
    log(level, `database "${this.topology.name}": ${text}`, {
      database: this.topology.name,
      ...fields,
    })
  }
}

function makeSlot(name: string): string {
  return (
    `select pg_create_physical_replication_slot(${literal(name)}, true) ` +
    `where not exists (select from pg_replication_slots where slot_name = ${literal(name)})`
  )
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}
