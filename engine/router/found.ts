/** Found: an entry as the sqlite worker gives it, taken apart in place, and kept in tier 1 where that may be.
 *  Owns:   one cursor, used for every reply in turn.   Not here: what is answered to the client (cache_*.ts).
 *  Thread: main.
 *  Holds:  what may be out of date is neither answered nor kept: see CacheState. */

import type { Extras } from '../cache/tags.ts'
import { wallMs } from '../clock.ts'
import { BodyReader } from '../protocol/body.ts'
import { ENTRY_FLAG } from '../protocol/cache_spec.ts'
import { REPLIES } from '../protocol/spec.ts'
import type { RingReader } from '../ring/reader.ts'
import type { CacheState } from './cache_state.ts'

export class Found {
  keyStart = 0
  keyEnd = 0
  /** When it is stale. */
  expiresAtMs = 0
  version = 0
  valueStart = 0
  valueEnd = 0
  private readonly reader = new BodyReader()
  private readonly state: CacheState
  private extras: Extras | undefined
  private bytes: Buffer = EMPTY
  private isHeld = false

  constructor(state: CacheState) {
    this.state = state
  }

  /** Reads FOUND, FOUND_EXTRA or FOUND_LARGE; false when it may not be believed: a miss then. */
  read(reply: RingReader, hash: number): boolean {
    const { reader } = this
    reader.reset(reply.bytes, reply.start, reply.end)
    this.bytes = reply.bytes
    reader.textRange()
    this.keyStart = reader.textStart
    this.keyEnd = reader.textEnd
    this.expiresAtMs = reader.time()
    this.version = reader.time()
    this.extras = undefined
    this.isHeld = false
    if (reply.op === REPLIES.FOUND_EXTRA.code) this.readExtras(reader, reader.uint(), reader.uint())
    else if (reply.op === REPLIES.FOUND_LARGE.code) this.readTags(reader)
    this.valueStart = reader.raw()
    this.valueEnd = reply.end
    return this.isBelieved(hash)
  }

  /** Reads a record of FOUND_MANY, behind its index and tier, from a reader that stands there. */
  readRecord(reader: BodyReader): number {
    reader.textRange()
    this.bytes = reader.bytes
    this.keyStart = reader.textStart
    this.keyEnd = reader.textEnd
    const hash = this.state.memory.hash(this.bytes, this.keyStart, this.keyEnd)
    this.expiresAtMs = reader.time()
    this.version = reader.time()
    this.extras = undefined
    this.isHeld = false
    this.readExtras(reader, reader.uint(), reader.uint())
    reader.binRange()
    this.valueStart = reader.textStart
    this.valueEnd = reader.textEnd
    return hash
  }

  isBelieved(hash: number): boolean {
    const { state } = this
    if (this.isHeld || state.isHidden(hash)) return false
    if (!state.unfinished.any) return true
    return !state.unfinished.holdsKey(this.version, () => this.key())
  }

  /** The length of a large value, which READ_PART fetches. */
  get largeBytes(): number {
    return this.reader.reset(this.bytes, this.valueStart, this.valueEnd).uint()
  }

  get isStale(): boolean {
    return this.expiresAtMs <= wallMs()
  }

  key(): string {
    return this.bytes.toString('utf8', this.keyStart, this.keyEnd)
  }

  /** Puts the entry into tier 1, unless a write of its key is on its way. */
  keep(hash: number): void {
    const { state } = this
    if (!state.mayFill(hash)) return
    if (this.extras?.isAdaptive === true) state.adaptive.read(hash)
    state.memory.set(
      hash,
      this.bytes,
      this.keyStart,
      this.keyEnd,
      this.bytes,
      this.valueStart,
      this.valueEnd,
      this.expiresAtMs,
      this.version,
      this.extras,
    )
  }

  private readExtras(reader: BodyReader, graceMs: number, flags: number): void {
    const extras = this.state.extras.reset()
    extras.graceMs = graceMs
    extras.isAdaptive = (flags & ENTRY_FLAG.adaptive) !== 0
    this.extras = extras
    this.readTags(reader)
    // Compressed in tier 2, and nothing else: a plain entry here.
    if (extras.flags === 0) this.extras = undefined
  }

  private readTags(reader: BodyReader): void {
    const { state } = this
    for (let left = reader.arrayHead(); left > 0; left--) {
      const hash = reader.uint()
      if (state.unfinished.holdsTag(state.tags.counterOf(hash))) this.isHeld = true
      this.extras?.addTag(state.tags, hash)
    }
  }
}

const EMPTY = Buffer.alloc(0)
