/** ByteQuotas: how much of tier 1 and tier 2 the namespaces of a role take, where it has a quota of that.
 *  Owns:   a count a role, and the counting of both tiers.   Thread: main.
 *  Holds:  (1) what is counted is the keys there are, not who wrote them: an entry has no owner.  (2) between two counts all
 *          that is stored is added and nothing taken away, so a quota is never exceeded by what it did not see; a count puts that
 *          right before the quota is reached, or at the latest when a write is refused.  (3) a role without a quota costs nothing.
 *
 *  Not counted: results of statements, which are the engine's own entries; what a read brings back to tier 1, before the next count. */

import type { Access } from '../guard/access.ts'
import type { Receiver } from '../pool/lease.ts'
import { textBytesMax, writeText } from '../protocol/body.ts'
import { decodeValue } from '../protocol/payload.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import type { CacheState } from './cache_state.ts'

const SCAN_COUNT = 2_048
const STORING: ReadonlySet<number> = new Set(
  [OPS.SET, OPS.STORE, OPS.FILL, OPS.SET_MANY, OPS.INCREMENT].map(op => op.code),
)

/** Of one tier: what it had at the last count, and what was stored since that began. */
interface Tier {
  counted: number
  added: number
  /** Stored while a count is under way: added to it, since nobody knows whether it saw that. */
  since: number
  isCounting: boolean
  isKnown: boolean
}

interface Usage {
  readonly memory: Tier
  readonly sqlite: Tier
}

export class ByteQuotas {
  private readonly state: CacheState
  /** By role: there are as many as are configured, since the engine started. */
  private readonly usages = new Map<string, Usage>()

  constructor(state: CacheState) {
    this.state = state
  }

  /** Throws BUSY when a frame would store more than its role has left. */
  check(access: Access, op: number, bytes: number): void {
    if (!STORING.has(op)) return
    const { memoryBytes, sqliteBytes } = access.quotas
    const { memory, sqlite } = this.usageOf(access)
    const goesToMemory = bytes <= this.state.memory.valueBytesMax
    if (goesToMemory && this.isOver(memory, memoryBytes, bytes, () => this.countMemory(access)))
      throw access.overQuota('memory_bytes', memoryBytes)
    if (this.isOver(sqlite, sqliteBytes, bytes, () => this.countSqlite(access)))
      throw access.overQuota('sqlite_bytes', sqliteBytes)
  }

  /** The frame was taken. */
  took(access: Access, op: number, bytes: number): void {
    if (!STORING.has(op)) return
    const { memory, sqlite } = this.usageOf(access)
    for (const tier of [memory, sqlite]) {
      tier.added += bytes
      tier.since += bytes
    }
  }

  private isOver(tier: Tier, most: number, bytes: number, count: () => void): boolean {
    if (most === Infinity) return false
    const left = most - tier.counted - tier.added - bytes
    // Half of what was left after the last count is gone: time for the next one.
    if (!tier.isCounting && (!tier.isKnown || left < tier.added)) count()
    return left < 0
  }

  private usageOf({ role }: Access): Usage {
    let usage = this.usages.get(role)
    if (usage === undefined) {
      usage = { memory: newTier(), sqlite: newTier() }
      this.usages.set(role, usage)
    }
    return usage
  }

  private countMemory(access: Access): void {
    const { memory } = this.state
    const tier = this.usageOf(access).memory
    const prefixes = access.prefixes!.map(prefix => Buffer.from(prefix))
    const scan = memory.beginScan()
    let sum = 0
    begin(tier)
    const add = (entry: number): boolean => {
      const keyAt = memory.keyStart(entry)
      const valueAt = memory.valueStart(entry)
      const isOurs = prefixes.some(
        prefix =>
          valueAt - keyAt >= prefix.length &&
          prefix.compare(memory.bytes, keyAt, keyAt + prefix.length) === 0,
      )
      if (isOurs) sum += valueAt - keyAt + memory.valueBytes(entry)
      return false
    }
    const turn = (): void => {
      if (memory.scan(scan, SCAN_COUNT, add)) {
        setImmediate(turn)
        return
      }
      memory.endScan(scan)
      end(tier, sum)
    }
    setImmediate(turn)
  }

  private countSqlite(access: Access): void {
    const tier = this.usageOf(access).sqlite
    const ranges = access.prefixes!.map(prefix => ({
      from: prefix,
      // Behind every key that begins with it: the colon's successor.
      below: `${prefix.slice(0, -1)};`,
    }))
    let sum = 0
    begin(tier)
    const next = (): void => {
      const range = ranges.at(-1)
      if (range === undefined) return end(tier, sum)
      const lease = this.state.lease()
      if (!lease.isOpen) return void (tier.isCounting = false)
      const { from, below } = range
      const body = Buffer.allocUnsafe(textBytesMax(from) + textBytesMax(below))
      const bodyEnd = writeText(body, writeText(body, 0, from), below)
      const op = OPS.COUNT_BYTES.code
      if (lease.send(op, receiver, undefined, 0, 0, body, 0, bodyEnd)) lease.publish()
      else lease.onceRoom(next)
    }
    const receiver: Receiver = {
      receive: reply => {
        if (reply.op !== REPLIES.RESULT.code) return void (tier.isCounting = false)
        const [bytes, last] = decodeValue(reply.bytes, reply.start, reply.end) as [
          number,
          string | null,
        ]
        sum += bytes
        if (last === null) ranges.pop()
        else ranges.at(-1)!.from = `${last}\0`
        // Requests that came meanwhile go first.
        setImmediate(next)
      },
      fail: () => {
        tier.isCounting = false
      },
    }
    setImmediate(next)
  }
}

function newTier(): Tier {
  return { counted: 0, added: 0, since: 0, isCounting: false, isKnown: false }
}

function begin(tier: Tier): void {
  tier.isCounting = true
  tier.since = 0
}

function end(tier: Tier, sum: number): void {
  tier.isCounting = false
  tier.isKnown = true
  tier.counted = sum
  tier.added = tier.since
}
