/** trace_context: whose call this is: the correlation id and the trace that are passed on.
 *  Owns:   nothing.   Thread: the client's.
 *  Holds:  what the caller says wins over what OpenTelemetry knows. */

import { correlationId } from '../../correlation.ts'
import type { ServiceOptions } from './types.ts'

/** As much of @opentelemetry/api as is used, where a process has it. */
interface OpenTelemetry {
  readonly context?: { active(): unknown }
  readonly propagation?: { inject(context: unknown, carrier: Record<string, string>): void }
}

/** Where the API, from 1.0 on, registers itself for all copies of it in a process. */
const OPEN_TELEMETRY = Symbol.for('opentelemetry.js.api.1')

export function contextHeaders(options: ServiceOptions): {
  correlationId: string
  headers: Record<string, string>
} {
  const id = options.correlationId ?? correlationId()
  const headers: Record<string, string> = { 'x-correlation-id': id, 'x-request-id': id }
  if (options.traceparent === undefined) injectActive(headers)
  else headers['traceparent'] = options.traceparent
  if (options.tracestate !== undefined) headers['tracestate'] = options.tracestate
  return { correlationId: id, headers }
}

/** What is registered there are the pieces that the API hands out; each may be missing. */
function injectActive(headers: Record<string, string>): void {
  const api = (globalThis as Record<symbol, unknown>)[OPEN_TELEMETRY] as OpenTelemetry | undefined
  if (api?.propagation === undefined || api.context === undefined) return
  const setter = {
    set: (to: Record<string, string>, name: string, value: string) => void (to[name] = value),
  }
  try {
    const inject = api.propagation.inject as (...of: unknown[]) => void
    inject.call(api.propagation, api.context.active(), headers, setter)
  } catch {
    // Tracing that fails is no reason not to call.
  }
}
