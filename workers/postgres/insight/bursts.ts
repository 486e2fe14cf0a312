/** Bursts: who asks the same again and again with other parameters: N+1, found as it happens.
 *  Owns:   a few numbers for each of the clients and fingerprints seen last.   Not here: words about it (report.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) found is: of one client, BURST_COUNT calls of one fingerprint within BURST_MS, each with other parameters than the
 *          one before, DISTINCT_MIN kinds of them at least.  (2) tables of a fixed size: who has the same place as another makes the
 *          other begin anew, so that a burst may be found late, and none is made up.
 *
 *  The likely parent is the statement of the same client that ended last before the burst and gave several rows. */

export const BURST_COUNT = 10
export const BURST_MS = 1_000
/** A loop over rows asks for some of them twice. */
const DISTINCT_MIN = 5
const PLACE_COUNT = 512
const TRAIL_CLIENT_COUNT = 128
const TRAIL_LENGTH = 4
const FOUND_COUNT_MAX = 128

export interface Burst {
  readonly slot: number
  readonly generation: number
  /** -1: none is likely. */
  parent: number
  parentGeneration: number
  /** Rows that the parent gave. */
  parentRows: number
  /** Of the caller, as the recorder knows it. */
  caller: number
  /** How often, and of how many calls the longest was. */
  times: number
  longest: number
  firstMs: number
  lastMs: number
}

export class Bursts {
  readonly found = new Map<string, Burst>()
  /** All that were ever found, by database. */
  readonly counts = new Map<string, number>()
  private readonly clients = new Int32Array(PLACE_COUNT).fill(-1)
  private readonly slots = new Int32Array(PLACE_COUNT)
  /** The last BURST_COUNT calls of each place: when, and with which parameters. */
  private readonly times = new Float64Array(PLACE_COUNT * BURST_COUNT)
  private readonly hashes = new Int32Array(PLACE_COUNT * BURST_COUNT)
  private readonly cursors = new Uint8Array(PLACE_COUNT)
  /** Calls of the burst that goes on; 0: none does. */
  private readonly lengths = new Uint32Array(PLACE_COUNT)
  /** What that burst adds to. */
  private readonly current: (Burst | undefined)[] = new Array(PLACE_COUNT).fill(undefined)
  private readonly trailClients = new Int32Array(TRAIL_CLIENT_COUNT).fill(-1)
  private readonly trailSlots = new Int32Array(TRAIL_CLIENT_COUNT * TRAIL_LENGTH).fill(-1)
  private readonly trailRows = new Float64Array(TRAIL_CLIENT_COUNT * TRAIL_LENGTH)
  private readonly trailMs = new Float64Array(TRAIL_CLIENT_COUNT * TRAIL_LENGTH)
  private readonly trailCursors = new Uint8Array(TRAIL_CLIENT_COUNT)
  private readonly generationOf: (slot: number) => number
  private readonly callerOf: (client: number) => number
  private readonly databaseOf: (slot: number) => string

  constructor(
    generationOf: (slot: number) => number,
    callerOf: (client: number) => number,
    databaseOf: (slot: number) => string,
  ) {
    this.generationOf = generationOf
    this.callerOf = callerOf
    this.databaseOf = databaseOf
  }

  /** A client's statement was answered with so many rows; `hash` is of its parameters, `askedMs` on the monotonic clock. */
  note(client: number, slot: number, hash: number, askedMs: number, rows: number): void {
    const place = (Math.imul(client, 31) + slot) & (PLACE_COUNT - 1)
    const at = place * BURST_COUNT
    if (this.clients[place] !== client || this.slots[place] !== slot) {
      this.clients[place] = client
      this.slots[place] = slot
      this.times.fill(-Infinity, at, at + BURST_COUNT)
      this.cursors[place] = 0
      this.lengths[place] = 0
      this.trail(client, slot, askedMs, rows)
    } else if (rows > 1) this.trail(client, slot, askedMs, rows)
    const cursor = this.cursors[place]!
    const last = cursor === 0 ? BURST_COUNT - 1 : cursor - 1
    if (this.hashes[at + last] === hash && this.times[at + last]! > -Infinity) return
    const next = cursor + 1 === BURST_COUNT ? 0 : cursor + 1
    this.times[at + cursor] = askedMs
    this.hashes[at + cursor] = hash
    this.cursors[place] = next
    if (askedMs - this.times[at + next]! <= BURST_MS) this.isFast(place, client, slot, askedMs)
    else this.lengths[place] = 0
  }

  clear(): void {
    this.found.clear()
    this.clients.fill(-1)
    this.trailClients.fill(-1)
  }

  private isFast(place: number, client: number, slot: number, askedMs: number): void {
    const length = this.lengths[place]!
    if (length === 0) return this.begins(place, client, slot, askedMs)
    this.lengths[place] = length + 1
    const burst = this.current[place]!
    if (length >= burst.longest) burst.longest = length + 1
    burst.lastMs = askedMs
  }

  private begins(place: number, client: number, slot: number, askedMs: number): void {
    const at = place * BURST_COUNT
    const distinct = new Set(this.hashes.subarray(at, at + BURST_COUNT)).size
    if (distinct < DISTINCT_MIN) return
    const database = this.databaseOf(slot)
    this.counts.set(database, (this.counts.get(database) ?? 0) + 1)
    this.lengths[place] = BURST_COUNT
    const key = `${slot}.${this.generationOf(slot)} ${this.callerOf(client)}`
    let burst = this.found.get(key)
    if (burst === undefined) {
      if (this.found.size >= FOUND_COUNT_MAX) this.found.delete(this.found.keys().next().value!)
      burst = newBurst(slot, this.generationOf(slot), this.callerOf(client), askedMs)
      this.found.set(key, burst)
    }
    this.current[place] = burst
    burst.times++
    burst.longest = Math.max(burst.longest, BURST_COUNT)
    burst.lastMs = askedMs
    this.findParent(burst, client, this.times[at + this.cursors[place]!]!)
  }

  /** Keeps what a client ran lately, each statement once. */
  private trail(client: number, slot: number, askedMs: number, rows: number): void {
    const place = client & (TRAIL_CLIENT_COUNT - 1)
    const at = place * TRAIL_LENGTH
    if (this.trailClients[place] !== client) {
      this.trailClients[place] = client
      this.trailSlots.fill(-1, at, at + TRAIL_LENGTH)
    }
    let index = -1
    for (let i = 0; i < TRAIL_LENGTH; i++) if (this.trailSlots[at + i] === slot) index = i
    if (index < 0) {
      index = this.trailCursors[place]!
      this.trailCursors[place] = (index + 1) % TRAIL_LENGTH
    }
    this.trailSlots[at + index] = slot
    this.trailRows[at + index] = rows
    this.trailMs[at + index] = askedMs
  }

  private findParent(burst: Burst, client: number, startMs: number): void {
    const place = client & (TRAIL_CLIENT_COUNT - 1)
    const at = place * TRAIL_LENGTH
    if (this.trailClients[place] !== client) return
    let foundMs = startMs - BURST_MS * 10
    for (let i = 0; i < TRAIL_LENGTH; i++) {
      const slot = this.trailSlots[at + i]!
      const ms = this.trailMs[at + i]!
      const isLikely = slot >= 0 && slot !== burst.slot && this.trailRows[at + i]! > 1
      if (!isLikely || ms > startMs || ms < foundMs) continue
      foundMs = ms
      burst.parent = slot
      burst.parentGeneration = this.generationOf(slot)
      burst.parentRows = this.trailRows[at + i]!
    }
  }
}

function newBurst(slot: number, generation: number, caller: number, nowMs: number): Burst {
  return {
    slot,
    generation,
    parent: -1,
    parentGeneration: 0,
    parentRows: 0,
    caller,
    times: 0,
    longest: 0,
    firstMs: nowMs,
    lastMs: nowMs,
  }
}
