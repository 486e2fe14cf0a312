/** plan: one call as it is to be carried out: checked, with the service's settings where the caller says nothing.
 *  Owns:   nothing.   Not here: carrying it out (calls.ts).   Thread: the client's.
 *  Holds:  (1) the url is below that of the service, whatever the path says.  (2) a wrong option is a TypeError; a path that cannot
 *          be is BAD_REQUEST. */

import { HearthError } from '../../errors.ts'
import type { ServiceFacts } from '../../protocol/service_spec.ts'
import { checkNames, checkSignal, milliseconds, whole } from '../options.ts'
import { contextHeaders } from './trace_context.ts'
import type { QueryValue, ServiceOptions } from './types.ts'

export interface Plan {
  readonly method: string
  readonly url: URL
  /** Of a Unix socket; undefined: TCP. */
  readonly socketPath: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer | undefined
  readonly timeoutMs: number
  readonly deadlineMs: number
  readonly retries: number
  readonly backoffMs: number
  /** It may be sent again though it may have been carried out. */
  readonly isIdempotent: boolean
  /** Undefined: no hedging. */
  readonly hedgeAfterMs: number | 'p95' | undefined
  readonly maxBodyBytes: number
  readonly isCached: boolean
  readonly signal: AbortSignal | undefined
  readonly correlationId: string
}

const NAMES = [
  'headers',
  'query',
  'body',
  'json',
  'timeoutMs',
  'deadlineMs',
  'retries',
  'idempotencyKey',
  'hedgeAfterMs',
  'maxBodyBytes',
  'cache',
  'signal',
  'correlationId',
  'traceparent',
  'tracestate',
]

/** RFC 9110, 9.2.2. */
const IDEMPOTENT: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'OPTIONS',
  'TRACE',
  'PUT',
  'DELETE',
])
const METHOD = /^[A-Z]{1,20}$/
/** setTimeout turns more into 1 ms. */
const TIMER_MS_MAX = 2 ** 31 - 1

export function planOf(
  facts: ServiceFacts,
  method: string,
  path: string,
  options: ServiceOptions,
): Plan {
  checkNames(options, NAMES)
  checkSignal(options.signal)
  if (typeof method !== 'string' || !METHOD.test(method))
    throw new TypeError('method must be a word in capitals, such as GET')
  const retries = whole('retries', options.retries, facts.retries, 0)
  const timeoutMs = duration('timeoutMs', options.timeoutMs, facts.timeoutMs)
  const { correlationId, headers: context } = contextHeaders(options)
  const { body, type } = bodyOf(options)
  const { idempotencyKey } = options
  const isSafe = method === 'GET' || method === 'HEAD'
  return {
    method,
    ...addressOf(facts, path, options.query),
    headers: {
      'user-agent': 'hearth',
      accept: '*/*',
      ...context,
      ...(type === undefined ? {} : { 'content-type': type }),
      ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
      ...lowerCased(options.headers ?? {}),
    },
    body,
    timeoutMs,
    deadlineMs: duration(
      'deadlineMs',
      options.deadlineMs,
      timeoutMs * (retries + 1) + facts.backoffMs * (2 ** retries - 1),
    ),
    retries,
    backoffMs: facts.backoffMs,
    isIdempotent: IDEMPOTENT.has(method) || idempotencyKey !== undefined,
    hedgeAfterMs: isSafe ? hedgeOf(options.hedgeAfterMs, facts.hedgeAfterMs) : undefined,
    maxBodyBytes: whole('maxBodyBytes', options.maxBodyBytes, facts.maxBodyBytes, 1),
    isCached: method === 'GET' && body === undefined && options.cache !== false,
    signal: options.signal,
    correlationId,
  }
}

function duration(name: string, value: number | undefined, otherwise: number): number {
  return Math.min(milliseconds(name, value, otherwise), TIMER_MS_MAX)
}

/** The address of a path of the service. */
export function addressOf(
  facts: ServiceFacts,
  path: string,
  query: ServiceOptions['query'] = {},
): { url: URL; socketPath: string | undefined } {
  if (typeof path !== 'string') throw new TypeError('path must be a string')
  const isUnix = facts.url.startsWith('unix:')
  const base = new URL(isUnix ? 'http://localhost' : facts.url)
  const prefix = base.pathname.replace(/\/+$/, '')
  if (!/^\/[^\s#\\]*$/.test(path)) throw badPath(path, "begin with '/', without spaces, \\ or #")
  const url = new URL(base.origin + prefix + path)
  // By `..` it could leave the service's own part of a host.
  if (url.origin !== base.origin || !`${url.pathname}/`.startsWith(`${prefix}/`))
    throw badPath(path, `stay below ${facts.url}`)
  for (const [name, value] of Object.entries(query)) {
    for (const each of Array.isArray(value) ? value : [value as QueryValue])
      if (each !== undefined) url.searchParams.append(name, String(each))
  }
  return { url, socketPath: isUnix ? facts.url.slice('unix:'.length) : undefined }
}

function badPath(path: string, rule: string): HearthError {
  return new HearthError(
    'BAD_REQUEST',
    `the path ${JSON.stringify(path.slice(0, 80))} must ${rule}`,
  )
}

function hedgeOf(value: number | 'p95' | undefined, configured: number): Plan['hedgeAfterMs'] {
  if (value === 'p95') return 'p95'
  if (value !== undefined) return milliseconds('hedgeAfterMs', value, 0)
  if (configured === Infinity) return undefined
  return configured === 0 ? 'p95' : configured
}

function bodyOf({ body, json }: ServiceOptions): { body: Buffer | undefined; type?: string } {
  if (json !== undefined) {
    if (body !== undefined) throw new TypeError('give body or json, not both')
    return { body: Buffer.from(JSON.stringify(json)), type: 'application/json' }
  }
  if (body === undefined) return { body: undefined }
  if (typeof body === 'string') return { body: Buffer.from(body), type: 'text/plain;charset=utf-8' }
  if (!(body instanceof Uint8Array)) throw new TypeError('body must be a string or bytes')
  return { body: Buffer.from(body.buffer, body.byteOffset, body.byteLength) }
}

function lowerCased(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value)]),
  )
}
