/** Follow: has replicas that receive from nobody follow the primary, and says what is to be done where that is not possible.
 *  Owns:   one attempt at a time, and when the next may be.   Not here: promoting (failover.ts), who can catch up (stranded.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) a replica that receives, be it from another replica, is left alone.  (2) nothing but host and port of its
 *          primary_conninfo is changed; the slot it names is made at the new primary.  (3) only where the engine may promote.
 *          (4) one that asks in vain is connected for a moment each time: receiving is what brings it further. */

import { monotonicMs } from '../../../engine/clock.ts'
import { log } from '../../../engine/log.ts'
import { copyAdvice, followAdvice } from './advice.ts'
import { addressOf, withAddress } from './conninfo.ts'
import { STRAND_TEXT, type Strand, settingsOf, strandOf } from './stranded.ts'
import type { Member, Topology } from './topology.ts'

const ASK_MS_MAX = 2_000
/** Time for a replica to connect by itself: Postgres tries every five seconds. */
const PATIENCE_MS = 12_000

/** A replica that receives nothing is looked at this often. */
const AGAIN_MS = 1_000
/** It is asked after once it was found so by so many looks: a sender that restarts is back sooner. */
const LOOKS_MIN = 3

interface Since {
  atMs: number
  isPointed: boolean
  /** Where both were then. */
  receivedLsn: number
  readonly primaryLsn: number
  /** Of the newest look, and how many there were. */
  askedMs: number
  looks: number
}

export class Follow {
  private readonly topology: Topology
  private readonly mayChange: boolean
  /** Since when each has received nothing while the primary was up, and what was tried. */
  private readonly since = new Map<Member, Since>()
  private isBusy = false
  private isClosed = false
  private again: NodeJS.Timeout | undefined

  constructor(topology: Topology, mayChange: boolean) {
    this.topology = topology
    this.mayChange = mayChange
  }

  /** Called after every look. */
  look(): void {
    const { primary, members } = this.topology
    if (this.isClosed || !isServing(primary)) return
    for (const member of members) {
      if (member === primary || member.server.state !== 'up') continue
      const known = this.since.get(member)
      if (isLonely(member, known)) {
        if (known === undefined) this.since.set(member, sinceNow(member, primary))
        else this.judge(member, known)
        this.lookSoon()
      } else {
        this.since.delete(member)
        member.advice = undefined
        member.strand = undefined
      }
    }
  }

  close(): void {
    this.isClosed = true
    clearTimeout(this.again)
  }

  private judge(member: Member, known: Since): void {
    const { receivedLsn, askedMs } = member.server.seen!
    const nowMs = monotonicMs()
    if (askedMs !== known.askedMs) known.looks++
    known.askedMs = askedMs
    if (receivedLsn > known.receivedLsn) {
      // It has the WAL from elsewhere, an archive.
      known.receivedLsn = receivedLsn
      known.atMs = nowMs
      known.looks = 0
    }
    const isLate = nowMs - known.atMs > PATIENCE_MS
    // After a failover its sender is gone for good; else it may be on its way back.
    const isOrphan = isLate || this.topology.failovers > 0
    if (this.isBusy) return
    if (isOrphan && this.mayChange && !known.isPointed) {
      known.isPointed = true
      known.atMs = nowMs
      known.looks = 0
      void this.alone(() => this.point(member))
    } else if (member.strand === undefined && known.looks >= LOOKS_MIN) {
      known.looks = 0
      void this.alone(() => this.examine(member, isLate))
    }
  }

  /** One server's affairs at a time. */
  private async alone(act: () => Promise<void>): Promise<void> {
    this.isBusy = true
    try {
      await act()
    } finally {
      this.isBusy = false
    }
  }

  /** Without traffic nobody looks for a whole interval. */
  private lookSoon(): void {
    this.again ??= setTimeout(() => {
      this.again = undefined
      void this.topology.primary.check.look()
      for (const { check } of this.since.keys()) void check.look()
    }, AGAIN_MS).unref()
  }

  private async point(member: Member): Promise<void> {
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
    }
  }

  /** Whether it can catch up at all. Where nobody may know, one that has long received nothing counts as unable to. */
  private async examine(member: Member, isLate: boolean): Promise<void> {
    const { primary } = this.topology
    const strand = await strandOf(member, primary).catch(() => undefined)
    const isBehind = member.server.seen!.lsn < primary.server.seen!.lsn
    if (strand === undefined && !(isLate && isBehind && member.advice === undefined)) return
    const again = copyAdvice(member.server, primary.server, await settingsOf(member, primary))
    if (this.isClosed || !this.since.has(member) || this.topology.primary !== primary) return
    member.strand = strand
    member.advice =
      strand !== undefined || this.since.get(member)!.isPointed
        ? again
        : `${followAdvice(member.server, primary.server)} If the primary has no more WAL for it: ${again}`
    this.report(member, strand)
  }

  private report({ server, advice }: Member, strand: Strand | undefined): void {
    const text =
      strand === undefined
        ? `replica ${server.name} receives nothing and is behind`
        : `replica ${server.name} cannot catch up: ${STRAND_TEXT[strand]}`
    this.tell('error', text, { mend: advice })
  }

  private tell(level: 'info' | 'error', text: string, fields = {}): void {
    log(level, `database "${this.topology.name}": ${text}`, {
      database: this.topology.name,
      ...fields,
    })
  }
}

function isServing({ server: { state, seen } }: Member): boolean {
  return state === 'up' && seen?.isStandby === false
}

/** It receives nothing, though it is there. */
function isLonely({ server: { seen } }: Member, known: Since | undefined): boolean {
  if (seen?.isStandby !== true) return false
  if (!seen.isStreaming) return true
  if (known === undefined) return false
  return seen.receivedLsn <= known.receivedLsn && seen.receivedLsn < known.primaryLsn
}

function sinceNow(member: Member, primary: Member): Since {
  return {
    atMs: monotonicMs(),
    isPointed: false,
    receivedLsn: member.server.seen!.receivedLsn,
    primaryLsn: primary.server.seen!.lsn,
    askedMs: member.server.seen!.askedMs,
    looks: 0,
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
