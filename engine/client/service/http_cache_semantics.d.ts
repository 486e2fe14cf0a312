/** What http_cache.ts uses of http-cache-semantics 4.3.0, which ships no types. */
declare module 'http-cache-semantics' {
  type Headers = Record<string, string>

  interface Revalidation {
    readonly headers: Headers
    /** False: the stale response may be given meanwhile. */
    readonly synchronous: boolean
  }

  export default class CachePolicy {
    constructor(
      request: { url?: string; method: string; headers: Headers },
      response: { status: number; headers: Headers },
      options: { shared: boolean; cacheHeuristic: number },
    )
    static fromObject(object: unknown): CachePolicy
    toObject(): object
    storable(): boolean
    timeToLive(): number
    evaluateRequest(request: { url?: string; method: string; headers: Headers }): {
      readonly response?: { readonly status: number; readonly headers: Headers }
      readonly revalidation?: Revalidation
    }
    responseHeaders(): Headers
    revalidatedPolicy(
      request: { url?: string; method: string; headers: Headers },
      response: { status: number; headers: Headers } | undefined,
    ): { policy: CachePolicy; modified: boolean; matches: boolean }
  }
}
