/** error_frame: a HearthError as the body of an ERROR frame, and back.
 *  Owns:   nothing.   Thread: any.
 *  Holds:  both ends see the same code, message and details; an unknown wire number reads as UNAVAILABLE. */

import { DETAIL_FIELDS, ERROR_BY_WIRE, ERRORS, type ErrorDetails, HearthError } from '../errors.ts'
import { idOf } from '../trace_context.ts'
import { HEADER_BYTES, writeHeader } from './header.ts'
import { decodeSequence, encodeValue } from './payload.ts'
import { REPLIES } from './spec.ts'

export function encodeError(error: HearthError): Buffer {
  const details: Record<string, unknown> = {}
  for (const field of DETAIL_FIELDS) if (error[field] !== undefined) details[field] = error[field]
  if (error.correlationId !== undefined) details['correlationId'] = idOf(error.correlationId)
  return Buffer.concat([
    encodeValue(ERRORS[error.code].wire),
    encodeValue(error.message),
    encodeValue(details),
  ])
}

/** A whole ERROR frame, for a peer that has no session; it answers no request in particular. */
export function encodeErrorFrame(error: HearthError): Buffer {
  const body = encodeError(error)
  const frame = Buffer.allocUnsafe(HEADER_BYTES + body.length)
  body.copy(frame, writeHeader(frame, 0, REPLIES.ERROR.code, 0, body.length))
  return frame
}

export function decodeError(bytes: Uint8Array, start: number, end: number): HearthError {
  const [wire, message, details] = decodeSequence(bytes, start, end)
  const code = ERROR_BY_WIRE.get(wire as number) ?? 'UNAVAILABLE'
  return new HearthError(code, String(message), (details ?? {}) as ErrorDetails)
}
