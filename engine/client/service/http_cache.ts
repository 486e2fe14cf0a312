/** HttpCache: answers kept in the engine's cache for as long as HTTP lets a shared cache keep them (RFC 9111), for all processes.
 *  Owns:   the namespace `http` of the cache: keys `http:<service>:<path>`.   Not here: the rules themselves: http-cache-semantics has
 *          them, in every detail; fetching (calls.ts).
 *  Thread: the client's.
 *  Holds:  (1) what the rules do not let a shared cache keep is not stored: private, no-store, an answer to credentials that is not
 *          public. (2) no credentials are stored.  (3) a cache that fails, or is full, costs a question to the service, never an
 *          error. */

/// <reference path="./http_cache_semantics.d.ts" />

import CachePolicy from 'http-cache-semantics'
import { monotonicMs } from '../../clock.ts'
import type { Cache } from '../cache.ts'
import type { Exchange } from './answer.ts'
import type { Plan } from './plan.ts'
import type { ServiceResponse } from './types.ts'

export const CACHE_NAMESPACE = 'http'

/** An answer that can be revalidated is kept so much longer than it is fresh. */
const REVALIDATE_MS = 3_600_000
/** How long it is remembered that an answer cannot be kept, and of how many. */
const FRUITLESS_MS = 10_000
const FRUITLESS_COUNT_MAX = 1_000
const TTL_MS_MAX = 7 * 86_400_000
const KEY_CHARS_MAX = 200
/** Of which a cache that is asked for one of them has others. Request headers that are no part of the key are left to Vary. */
const KEY_HEADERS = ['accept', 'accept-language']
const CREDENTIALS = ['authorization', 'cookie', 'proxy-authorization']

interface Stored {
  readonly policy: object
  readonly body: Buffer
  readonly url: string
}

interface Cached {
  readonly exchange: Exchange
  readonly from: ServiceResponse['fromCache']
}

type Fetch = (headers: Plan['headers']) => Promise<Exchange>

export class HttpCache {
  private readonly cache: Cache
  private readonly service: string
  private readonly bodyBytesMax: () => number
  /** What is fetched anew while stale answers are given, by key. */
  private readonly renewing = new Set<string>()
  /** Keys not worth a look, and until when. */
  private readonly fruitless = new Map<string, number>()

  /** `bodyBytesMax`: larger bodies are not kept. */
  constructor(cache: Cache, service: string, bodyBytesMax: () => number) {
    this.cache = cache.namespace(CACHE_NAMESPACE)
    this.service = service
    this.bodyBytesMax = bodyBytesMax
  }

  /** The answer to a GET: from the cache if that may be, else fetched, and kept if that may be. */
  async get(plan: Plan, fetch: Fetch): Promise<Cached> {
    const key = await this.keyOf(plan)
    const stored = this.isFruitless(key) ? undefined : await this.read(key, plan)
    if (stored === undefined) return await this.fetched(plan, key, await fetch(plan.headers))
    const policy = CachePolicy.fromObject(stored.policy)
    const { response, revalidation } = policy.evaluateRequest(ruled(plan))
    if (revalidation === undefined)
      return given(stored, response!.headers, response!.status, 'fresh')
    const renew = () => this.revalidated(plan, key, stored, policy, fetch, revalidation.headers)
    if (response === undefined || revalidation.synchronous) return await renew()
    if (!this.renewing.has(key)) {
      this.renewing.add(key)
      renew()
        .catch(() => undefined)
        .finally(() => this.renewing.delete(key))
    }
    return given(stored, response.headers, response.status, 'stale')
  }

  /** A path was changed: what is kept of it goes (RFC 9111, 4.4). */
  async forget(plan: Plan): Promise<void> {
    await this.cache.invalidateTags([await this.tagOf(plan)]).catch(() => undefined)
  }

  private async fetched(plan: Plan, key: string, exchange: Exchange): Promise<Cached> {
    const isKept = await this.keep(plan, key, policyOf(plan, exchange), exchange)
    if (isKept) this.fruitless.delete(key)
    else {
      if (this.fruitless.size >= FRUITLESS_COUNT_MAX) this.fruitless.clear()
      this.fruitless.set(key, monotonicMs() + FRUITLESS_MS)
    }
    return { exchange, from: false }
  }

  /** Its latest answer could not be kept, so the cache will hardly have another: looking would cost a round trip, and count as a
   *  miss. */
  private isFruitless(key: string): boolean {
    return monotonicMs() < (this.fruitless.get(key) ?? -Infinity)
  }

  private async revalidated(
    plan: Plan,
    key: string,
    stored: Stored,
    policy: CachePolicy,
    fetch: Fetch,
    conditions: Plan['headers'],
  ): Promise<Cached> {
    const headers = { ...plan.headers }
    for (const name of ['if-none-match', 'if-modified-since'])
      if (conditions[name] !== undefined) headers[name] = conditions[name]
    let answer: Exchange | undefined
    try {
      answer = await fetch(headers)
    } catch (error) {
      const isAborted = plan.signal?.aborted === true
      if (isAborted || !policy.revalidatedPolicy(ruled(plan), FAILED).matches) throw error
    }
    const next = policy.revalidatedPolicy(ruled(plan), answer ?? FAILED)
    if (answer !== undefined && next.modified) return await this.fetched(plan, key, answer)
    const isStale = answer?.status !== 304
    // An answer 304 that names another entity is of a service that contradicts itself: what there is stays as it was.
    const now = next.matches ? next.policy : policy
    const { st: status } = now.toObject() as { st: number }
    const exchange = { status, headers: now.responseHeaders(), body: stored.body, url: stored.url }
    if (!isStale && next.matches) await this.keep(plan, key, now, exchange)
    return { exchange, from: isStale ? 'stale' : 'revalidated' }
  }

  private async read(key: string, plan: Plan): Promise<Stored | undefined> {
    const stored = await this.cache.get<Stored>(key).catch(() => undefined)
    // What somebody else may have put there is no answer of ours; an answer to a GET with a body limit obeys it.
    if (!(stored?.body instanceof Uint8Array) || typeof stored.policy !== 'object') return undefined
    if (stored.body.length > plan.maxBodyBytes) return undefined
    const { buffer, byteOffset, byteLength } = stored.body
    return { ...stored, body: Buffer.from(buffer, byteOffset, byteLength) }
  }

  /** False when it may not be kept. */
  private async keep(
    plan: Plan,
    key: string,
    policy: CachePolicy,
    exchange: Exchange,
  ): Promise<boolean> {
    const { headers, body, url } = exchange
    if (!policy.storable() || body.length > this.bodyBytesMax()) return false
    const vary = headers['vary']?.toLowerCase() ?? ''
    if (vary.includes('*') || CREDENTIALS.some(name => vary.includes(name))) return false
    const canRevalidate = headers['etag'] !== undefined || headers['last-modified'] !== undefined
    const ttlMs = Math.min(policy.timeToLive() + (canRevalidate ? REVALIDATE_MS : 0), TTL_MS_MAX)
    if (ttlMs <= 0) return false
    const stored: Stored = { policy: policy.toObject(), body, url }
    const options = { ttlMs, tags: [await this.tagOf(plan)], durability: 'memory' as const }
    await this.cache.set(key, stored, options).catch(() => undefined)
    return true
  }

  private async keyOf(plan: Plan): Promise<string> {
    const parts = KEY_HEADERS.map(name => plan.headers[name] ?? '')
    const variant = parts.join('') === '*/*' ? '' : ` ${parts.join(' ')}`
    return `${this.service}:${await short(pathOf(plan) + variant)}`
  }

  private async tagOf(plan: Plan): Promise<string> {
    return `http:${this.service}:${await short(pathOf(plan))}`
  }
}

/** What the rules make of a service that does not answer. */
const FAILED = { status: 503, headers: {} }

function given(
  { body, url }: Stored,
  headers: Record<string, string>,
  status: number,
  from: Cached['from'],
): Cached {
  return { exchange: { status, headers, body, url }, from }
}

function policyOf(plan: Plan, exchange: Exchange): CachePolicy {
  // Without guesses: only what the service says is fresh is.
  return new CachePolicy(ruled(plan), exchange, { shared: true, cacheHeuristic: 0 })
}

/** The request as the rules see it, and as Vary has it stored: that there are credentials counts, not which. */
function ruled({ method, url, headers }: Plan): {
  method: string
  url: string
  headers: Record<string, string>
} {
  const shown: Record<string, string> = { ...headers, host: url.host }
  for (const name of CREDENTIALS) if (name in shown) shown[name] = '-'
  return { method, url: url.pathname + url.search, headers: shown }
}

function pathOf({ url }: Plan): string {
  return url.pathname + url.search
}

async function short(text: string): Promise<string> {
  if (text.length <= KEY_CHARS_MAX && !/[^\x21-\x7e ]/.test(text)) return text
  const { createHash } = await import('node:crypto')
  return `#${createHash('sha256').update(text).digest('base64url')}`
}
