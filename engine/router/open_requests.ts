/** OpenRequests: the requests that are answered later: whose, which operation, since when.
 *  Owns:   one table for all connections of an engine.   Not here: what is counted (request_meter.ts).
 *  Thread: main.
 *  Holds:  (1) open addressing over typed arrays: a request costs no allocation.  (2) at most OPEN_COUNT_MAX; what comes beyond
 *          is not timed.  (3) a table that has grown is small again once it is empty. */

import { assert } from '../assert.ts'

const SMALL_SIZE = 256
/** More than workers have tickets and claims have waiters together. */
const OPEN_COUNT_MAX = 32_768
assert((SMALL_SIZE & (SMALL_SIZE - 1)) === 0, 'places wrap with a mask')

export class OpenRequests {
  count = 0
  /** Of the request taken last. */
  op = 0
  startMs = 0
  private mask = SMALL_SIZE - 1
  /** 0: nobody's, the place is free; clients count from 1. */
  private clients = new Uint32Array(SMALL_SIZE)
  private ids = new Uint32Array(SMALL_SIZE)
  private ops = new Uint8Array(SMALL_SIZE)
  private startsMs = new Float64Array(SMALL_SIZE)

  /** A client that uses an id twice at a time has the older request forgotten. */
  add(client: number, id: number, op: number, startMs: number): void {
    if (this.count >= OPEN_COUNT_MAX) return
    if (this.count * 2 > this.mask) this.resize((this.mask + 1) * 2)
    const at = this.placeOf(client, id)
    if (this.clients[at] === 0) this.count++
    this.put(at, client, id, op, startMs)
  }

  /** Takes a request out, into `op` and `startMs`; false: there is none. */
  take(client: number, id: number): boolean {
    if (this.count === 0) return false
    const at = this.placeOf(client, id)
    if (this.clients[at] === 0) return false
    this.op = this.ops[at]!
    this.startMs = this.startsMs[at]!
    this.free(at)
    return true
  }

  /** Takes all requests of a client out. */
  takeAll(client: number, taken: (op: number, startMs: number) => void): void {
    // Taking one out moves others up, never past the end of its cluster: look at the same place again.
    for (let at = 0; this.count > 0 && at <= this.mask; ) {
      if (this.clients[at] !== client) at++
      else {
        taken(this.ops[at]!, this.startsMs[at]!)
        this.free(at)
      }
    }
    if (this.count === 0 && this.mask >= SMALL_SIZE) this.resize(SMALL_SIZE)
  }

  /** Where it is, or where it would be. */
  private placeOf(client: number, id: number): number {
    const { clients, ids, mask } = this
    let at = placeFor(client, id, mask)
    while (clients[at] !== 0 && (clients[at] !== client || ids[at] !== id)) at = (at + 1) & mask
    return at
  }

  private put(at: number, client: number, id: number, op: number, startMs: number): void {
    this.clients[at] = client
    this.ids[at] = id
    this.ops[at] = op
    this.startsMs[at] = startMs
  }

  /** Frees a place; those behind it that stand there because it was taken move up (Knuth 6.4, algorithm R). */
  private free(place: number): void {
    const { clients, ids, mask } = this
    this.count--
    let hole = place
    for (let at = (hole + 1) & mask; clients[at] !== 0; at = (at + 1) & mask) {
      const home = placeFor(clients[at]!, ids[at]!, mask)
      if (((at - home) & mask) < ((at - hole) & mask)) continue
      this.put(hole, clients[at]!, ids[at]!, this.ops[at]!, this.startsMs[at]!)
      hole = at
    }
    clients[hole] = 0
  }

  private resize(size: number): void {
    const { clients, ids, ops, startsMs } = this
    this.mask = size - 1
    this.clients = new Uint32Array(size)
    this.ids = new Uint32Array(size)
    this.ops = new Uint8Array(size)
    this.startsMs = new Float64Array(size)
    for (let i = 0; i < clients.length; i++) {
      if (clients[i] === 0) continue
      this.put(this.placeOf(clients[i]!, ids[i]!), clients[i]!, ids[i]!, ops[i]!, startsMs[i]!)
    }
  }
}

function placeFor(client: number, id: number, mask: number): number {
  const hash = Math.imul(id ^ Math.imul(client, 0x85ebca6b), 0x9e3779b1)
  return (hash ^ (hash >>> 15)) & mask
}
