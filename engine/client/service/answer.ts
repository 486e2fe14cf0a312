/** Answer: what a service answered, as its caller gets it.
 *  Owns:   nothing.   Thread: the client's.   Holds: the body is whole, and as long as the service said. */

import { HearthError } from '../../errors.ts'
import type { ServiceResponse } from './types.ts'

/** What one exchange over the wire has brought. */
export interface Exchange {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
  readonly url: string
}

export class Answer implements ServiceResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
  readonly url: string
  readonly fromCache: ServiceResponse['fromCache']
  readonly attempts: number
  readonly correlationId: string

  constructor(
    exchange: Exchange,
    correlationId: string,
    attempts: number,
    fromCache: ServiceResponse['fromCache'] = false,
  ) {
    this.status = exchange.status
    this.headers = exchange.headers
    this.body = exchange.body
    this.url = exchange.url
    this.correlationId = correlationId
    this.attempts = attempts
    this.fromCache = fromCache
  }

  get ok(): boolean {
    return this.status >= 200 && this.status < 300
  }

  text(): string {
    return this.body.toString('utf8')
  }

  json<T = unknown>(): T {
    try {
      return JSON.parse(this.text()) as T
    } catch (error) {
      const text = `${this.url} answered ${this.status} with ${this.body.length} bytes that are no JSON: ${(error as Error).message}`
      throw new HearthError('UNAVAILABLE', text, { correlationId: this.correlationId })
    }
  }
}
