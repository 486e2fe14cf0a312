/** SharedMemory: whether, and of which engine, this client reads tier 1 in place; where it cannot, the socket serves.
 *  Owns:   the mapping of the engine it is connected to.   Not here: the mapping itself (mapped_tier.ts).
 *  Thread: the client's.
 *  Holds:  (1) a mapping is used only while its connection stands: detach() comes with the connection's end, before anything else
 *          is done about it.  (2) a key with an unanswered write of this client's is not read in place, so that the
 *          client sees its writes in order.  (3) whatever goes wrong here costs speed, never a request. */

import type * as Native from '../../native-bindings/index.ts'
import { SEGMENT_LAYOUT } from '../cache/segment.ts'
import { decodeValue } from '../protocol/payload.ts'
import { OPS } from '../protocol/spec.ts'
import type { Connection } from './connection.ts'
import type { QueryResult } from './database.ts'
import type { Request } from './inflight.ts'
import { MappedTier } from './mapped_tier.ts'

const KEY_BYTES_MAX = 1024

export class SharedMemory {
  /** Why tier 1 is not read in place; undefined while it is. */
  reason: string | undefined = 'not connected yet'
  private readonly connection: Connection
  private readonly isWanted: boolean
  private tier: MappedTier | undefined
  /** Of attach() calls: the one that is overtaken by a newer connection gives up. */
  private attempt = 0

  constructor(connection: Connection, isWanted: boolean) {
    this.connection = connection
    this.isWanted = isWanted
  }

  /** The value of a key, for a caller who asks the engine when there is none. */
  get(key: string): unknown {
    const { tier } = this
    if (tier === undefined || this.connection.writes.has(key)) return undefined
    return tier.read(key, false)
  }

  /** The value of a key, for a caller who is content with this answer. */
  peek(key: string): unknown {
    const { tier } = this
    if (tier === undefined || this.connection.writes.has(key)) return undefined
    return tier.read(key, true)
  }

  get isOn(): boolean {
    return this.tier !== undefined
  }

  /** The result of a statement under its key, unless it expires within `eagerMs`. */
  rows(
    prefix: Uint8Array,
    params: Uint8Array,
    paramsEnd: number,
    eagerMs: number,
  ): QueryResult | undefined {
    return this.tier?.rows(prefix, params, paramsEnd, eagerMs)
  }

  /** The connection is open: maps its engine's segment. Resolves when that is done, or cannot be. */
  async attach(): Promise<void> {
    const attempt = ++this.attempt
    this.tier = undefined
    try {
      const tier = await this.map(() => attempt !== this.attempt)
      if (attempt !== this.attempt) return
      this.tier = tier
      this.reason = undefined
    } catch (error) {
      if (attempt === this.attempt) this.reason = (error as Error).message
    }
  }

  /** The connection is gone: nothing is read in place any more. */
  detach(): void {
    this.attempt++
    this.tier = undefined
    this.reason = 'not connected'
  }

  private async map(isOver: () => boolean): Promise<MappedTier> {
    if (!this.isWanted) throw new Error('the option sharedMemory is false')
    const { segment, engine, maxKeyBytes } = this.connection.greeting ?? {}
    const { path, layout } = (segment ?? {}) as { path?: unknown; layout?: unknown }
    if (typeof path !== 'string') throw new Error('the engine does not share its memory')
    if (layout !== SEGMENT_LAYOUT)
      throw new Error(`the segment has layout ${layout}, not ${SEGMENT_LAYOUT}`)
    const native = await loadBinding()
    if (isOver()) throw new Error('the connection was lost')
    const ownUid = process.geteuid!()
    const fd = this.connection.descriptor()
    const engineUid = fd === undefined ? ownUid : native.peerCredentials(fd).uid
    const memory = native.mapFileReadOnly(path, engineUid)
    // A page belongs to its connection.
    const request: Request = { ...attachRequest, epoch: this.connection.epoch }
    const page = (await this.connection.request(request)) as Page | null
    if (page === null) throw new Error('the engine has no page for this client')
    // An engine of root's gives each client's page to its user; any other engine's pages are its own.
    const pageUid = engineUid === 0 ? ownUid : engineUid
    const pageMemory = native.mapFileWritable(page.path, pageUid)
    const keyBytesMax = typeof maxKeyBytes === 'number' ? maxKeyBytes : KEY_BYTES_MAX
    return new MappedTier(memory, pageMemory, String(engine), keyBytesMax)
  }
}

interface Page {
  readonly path: string
  readonly bytes: number
}

const attachRequest: Request = {
  op: OPS.ATTACH.code,
  isRepeatable: false,
  bodyBytesMax: () => 0,
  write: (_target, at) => at,
  read: (_op, bytes, start, end) => decodeValue(bytes, start, end),
}

let binding: Promise<typeof Native> | undefined

/** Loaded when first wanted: a client that uses the socket alone does without. */
function loadBinding(): Promise<typeof Native> {
  binding ??= import('../../native-bindings/index.ts')
  return binding
}
