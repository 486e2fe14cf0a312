/** Service: `hearth.service(name)`: calls of a registered HTTP service by its name.
 *  Owns:   the verbs.   Not here: what a call is (service/calls.ts), which is loaded with the first.
 *  Thread: the client's.
 *  Holds:  a process that calls no service loads no HTTP. */

import type { Cache } from './cache.ts'
import type { Connection } from './connection.ts'
import { checkNames } from './options.ts'
import type { ServiceCalls } from './service/calls.ts'
import type { ServiceOptions, ServiceResponse } from './service/types.ts'

export type { ServiceOptions, ServiceResponse } from './service/types.ts'

/** What services need of their client. */
export interface ServiceParts {
  readonly connection: Connection
  readonly cache: Cache
}

type CallContext = Pick<ServiceOptions, 'correlationId' | 'traceparent' | 'tracestate'>
type BodyOptions = Omit<ServiceOptions, 'body' | 'json'>

/** Every call resolves with what the service answered, whatever its status, as fetch does; it rejects with a HearthError when there is
 *  no answer: TIMEOUT, UNAVAILABLE, CIRCUIT_OPEN (with retryAfterMs), VALUE_TOO_LARGE (a body beyond the limit), BUSY, NOT_CONFIGURED
 *  (no such service), BAD_REQUEST (no such path); or with the reason of `signal`. */
export class Service {
  readonly name: string
  private readonly parts: ServiceParts
  private readonly context: CallContext
  /** Whose connections and breaker are used. */
  private readonly owner: Service
  private calls: Promise<ServiceCalls> | undefined

  constructor(name: string, parts: ServiceParts, context: CallContext = {}, owner?: Service) {
    this.name = name
    this.parts = parts
    this.context = context
    this.owner = owner ?? this
  }

  /** The same service, called in a context: its ids are passed on with every call that does not say others. */
  inContext(context: CallContext): Service {
    checkNames(context, ['correlationId', 'traceparent', 'tracestate'])
    return new Service(this.name, this.parts, context, this.owner)
  }

  get(path: string, options?: BodyOptions): Promise<ServiceResponse> {
    return this.request('GET', path, options)
  }

  head(path: string, options?: BodyOptions): Promise<ServiceResponse> {
    return this.request('HEAD', path, options)
  }

  /** Bytes and text are sent as they are; anything else as JSON. */
  post(path: string, body?: unknown, options?: BodyOptions): Promise<ServiceResponse> {
    return this.request('POST', path, withBody(body, options))
  }

  put(path: string, body?: unknown, options?: BodyOptions): Promise<ServiceResponse> {
    return this.request('PUT', path, withBody(body, options))
  }

  patch(path: string, body?: unknown, options?: BodyOptions): Promise<ServiceResponse> {
    return this.request('PATCH', path, withBody(body, options))
  }

  delete(path: string, options?: ServiceOptions): Promise<ServiceResponse> {
    return this.request('DELETE', path, options)
  }

  /** A call with any method. */
  async request(
    method: string,
    path: string,
    options: ServiceOptions = {},
  ): Promise<ServiceResponse> {
    const calls = await (this.owner.calls ??= this.load())
    return await calls.call(method, path, { ...this.context, ...options })
  }

  /** Ends idle connections and whatever is under way. */
  close(): void {
    this.calls?.then(
      calls => calls.close(),
      () => undefined,
    )
  }

  private async load(): Promise<ServiceCalls> {
    const { ServiceCalls } = await import('./service/calls.ts')
    return new ServiceCalls(this.name, this.parts)
  }
}

function withBody(body: unknown, options: BodyOptions = {}): ServiceOptions {
  if (body === undefined) return options
  const isPlain = typeof body === 'string' || body instanceof Uint8Array
  return isPlain ? { ...options, body } : { ...options, json: body }
}
