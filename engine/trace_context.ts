/** trace_context: what a request carries besides its correlation id: the trace that its caller is in, as W3C and OpenTelemetry have it.
 *  Owns:   how both stand in the one argument `correlationId` of a frame.   Thread: any.
 *  Holds:  (1) without a context that argument is the id alone, and nothing is paid for what is not there.  (2) no character of a
 *          comment that is made from it ends the comment, whatever a client sent.
 *
 *      id                                 an id that Hearth made
 *      id ' '                             an id that the caller gave
 *      id ' ' traceparent [' ' tracestate]
 *
 *  In one argument, and not in a frame of its own: a request and its context are taken, refused, kept and sent again together, over
 *  the ring as over the socket. */

/** What a caller may say. */
export interface TraceContext {
  /** `00-<32 hex>-<16 hex>-<2 hex>`, as the W3C header has it. */
  readonly traceparent?: string | undefined
  /** The header of that name that came with it. */
  readonly tracestate?: string | undefined
  /** An id of the caller's own, for logs and errors: 1 to 128 visible ASCII characters. */
  readonly correlationId?: string | undefined
}

const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-([0-9a-f]{2})$/
const TRACESTATE = /^[\x21-\x7e]{1,512}$/
const CORRELATION_ID = /^[\x21-\x7e]{1,128}$/
const SAMPLED = 1

/** The argument of a frame. A trace that is none is left out, as W3C wants it: headers come from anywhere. Throws TypeError for an id
 *  that is none. */
export function contextText(context: TraceContext, freshId: () => string): string {
  const { traceparent, correlationId } = context
  if (correlationId !== undefined && !CORRELATION_ID.test(correlationId))
    throw new TypeError('correlationId must be 1 to 128 visible ASCII characters without spaces')
  const id = correlationId ?? freshId()
  if (traceparent === undefined || !TRACEPARENT.test(traceparent))
    return correlationId === undefined ? id : `${id} `
  const tracestate = context.tracestate?.replace(/\s*,\s*/g, ',').trim()
  const hasState = tracestate !== undefined && TRACESTATE.test(tracestate)
  return hasState ? `${id} ${traceparent} ${tracestate}` : `${id} ${traceparent}`
}

/** The id alone. */
export function idOf(text: string): string {
  const end = text.indexOf(' ')
  return end < 0 ? text : text.slice(0, end)
}

/** For a line of the log: the id, and the trace where there is one. */
export function contextFields(text: string): { correlationId: string; traceparent?: string } {
  const [id, traceparent] = text.split(' ', 2)
  const isTrace = traceparent !== undefined && TRACEPARENT.test(traceparent)
  return isTrace ? { correlationId: id!, traceparent } : { correlationId: id! }
}

/** What a statement gets as its end, in the form of sqlcommenter: empty unless its caller gave an id without a trace, or the trace is
 *  sampled. Such a text is another each time, so it is not prepared: what nobody will look at does not pay that. */
export function commentOf(text: string): string {
  const end = text.indexOf(' ')
  if (end < 0) return ''
  const [traceparent = '', tracestate] = text.slice(end + 1).split(' ', 2)
  const flags = TRACEPARENT.exec(traceparent)?.[1]
  const isUnsampled = flags !== undefined && (Number.parseInt(flags, 16) & SAMPLED) === 0
  if (isUnsampled) return ''
  const pairs = [`correlation_id='${encoded(text.slice(0, end))}'`]
  if (flags !== undefined) pairs.push(`traceparent='${encoded(traceparent)}'`)
  if (flags !== undefined && tracestate) pairs.push(`tracestate='${encoded(tracestate)}'`)
  return ` /*${pairs.join(',')}*/`
}

/** Percent signs for all but letters, digits and a few signs: neither quote nor star nor slash is left. A client may send halves of
 *  characters, which have no such form. */
function encoded(value: string): string {
  return encodeURIComponent(value.toWellFormed()).replace(
    /[!'()*]/g,
    sign => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}
