/** RequestContext: the context in which a client's statements are asked: one it was given, or OpenTelemetry's active one.
 *  Owns:   nothing.   Thread: the client's.
 *  Holds:  without OpenTelemetry in the process, one property is looked up; nothing of it is imported. */

import { correlationId } from '../correlation.ts'
import { HearthError } from '../errors.ts'
import { contextText, idOf, type TraceContext } from '../trace_context.ts'

/** Where the package @opentelemetry/api keeps what has been registered; its context's key of the active span. */
const OPENTELEMETRY = Symbol.for('opentelemetry.js.api.1')
const SPAN = Symbol.for('OpenTelemetry Context Key SPAN')
const NO_TRACE = /^0*$/

/** As far as it is used here. */
interface OpenTelemetry {
  readonly context?: {
    active(): { getValue(key: symbol): { spanContext?(): SpanContext } | undefined }
  }
}

interface SpanContext {
  readonly traceId: string
  readonly spanId: string
  readonly traceFlags: number
  readonly traceState?: { serialize(): string }
}

/** The argument `correlationId` for one request. Throws TypeError for an id that is none. */
export function requestContext(given: TraceContext | undefined): string {
  const context = given?.traceparent === undefined ? withActiveTrace(given) : given
  return context === undefined ? correlationId() : contextText(context, correlationId)
}

/** The same, with what a call says itself before what its client was made with. */
export function mergedContext(
  own: TraceContext,
  base: TraceContext | undefined,
): TraceContext | undefined {
  const { traceparent, tracestate, correlationId } = own
  if (traceparent === undefined && tracestate === undefined && correlationId === undefined)
    return base
  // A tracestate belongs to its traceparent.
  const trace =
    traceparent === undefined && tracestate === undefined ? base : { traceparent, tracestate }
  return {
    traceparent: trace?.traceparent,
    tracestate: trace?.tracestate,
    correlationId: correlationId ?? base?.correlationId,
  }
}

/** Gives the answer of a request that has a context its id, and an error too, wherever that arose. */
export function answerOf<Answer>(text: string, answer: Promise<unknown>): Promise<Answer> {
  if (!text.includes(' ')) return answer as Promise<Answer>
  const correlationId = idOf(text)
  return answer.then(
    value => ({ ...(value as Answer), correlationId }),
    error => {
      if (error instanceof HearthError && error.correlationId === undefined)
        Object.defineProperty(error, 'correlationId', { value: correlationId, enumerable: true })
      throw error
    },
  )
}

function withActiveTrace(given: TraceContext | undefined): TraceContext | undefined {
  const api = (globalThis as Record<symbol, unknown>)[OPENTELEMETRY] as OpenTelemetry | undefined
  if (api?.context === undefined) return given
  try {
    const span = api.context.active().getValue(SPAN)?.spanContext?.()
    if (span === undefined || NO_TRACE.test(span.traceId)) return given
    const flags = (span.traceFlags & 0xff).toString(16).padStart(2, '0')
    return {
      traceparent: `00-${span.traceId}-${span.spanId}-${flags}`,
      tracestate: span.traceState?.serialize() || undefined,
      correlationId: given?.correlationId,
    }
  } catch {
    return given // Tracing that fails is no reason not to ask.
  }
}
