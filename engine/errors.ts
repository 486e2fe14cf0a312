/** Errors as rows: one code, its number on the wire, its retry rule, its text. README's list is generated from here.
 *  Owns:   ERRORS and HearthError, the only error class that crosses a border.
 *  Thread: any.
 *  Holds:  wire numbers never change once released; users match `code`, never `message`. */

/** When a caller may send the same request again: `later` after `retryAfterMs` or a pause; `reads`, which change nothing; `no`. */
export type RetryRule = 'later' | 'reads' | 'no'

export interface ErrorSpec {
  readonly wire: number
  readonly retry: RetryRule
  readonly text: string
}

export const ERRORS = {
  BAD_REQUEST: { wire: 0x01, retry: 'no', text: 'the request has a wrong type, shape or value' },
  PROTOCOL: { wire: 0x02, retry: 'no', text: 'the bytes on the socket are not Hearth frames' },
  KEY_TOO_LARGE: { wire: 0x03, retry: 'no', text: 'the key is longer than cache.max_key_bytes' },
  VALUE_TOO_LARGE: { wire: 0x04, retry: 'no', text: 'the value is larger than its limit' },
  FORBIDDEN: { wire: 0x05, retry: 'no', text: 'the role of this connection may not do that' },
  RATE_LIMITED: { wire: 0x06, retry: 'later', text: 'a rate limit is used up' },
  BUSY: { wire: 0x07, retry: 'later', text: 'a queue is full' },
  TIMEOUT: { wire: 0x08, retry: 'reads', text: 'the deadline passed before the answer came' },
  UNAVAILABLE: { wire: 0x09, retry: 'reads', text: 'the part that was to answer went away' },
  CIRCUIT_OPEN: { wire: 0x0a, retry: 'later', text: 'the breaker is open after repeated failures' },
  POOL_EXHAUSTED: {
    wire: 0x0b,
    retry: 'later',
    text: 'no connection came free within the deadline',
  },
  DATABASE: { wire: 0x0c, retry: 'no', text: 'Postgres refused the statement; sqlState says why' },
  READ_ONLY: { wire: 0x0d, retry: 'no', text: 'the target does not take writes' },
  NOT_CONFIGURED: { wire: 0x0e, retry: 'no', text: 'the part asked for is not configured here' },
  CLOSED: { wire: 0x0f, retry: 'no', text: 'this client or engine has been closed' },
} as const satisfies Record<string, ErrorSpec>

export type ErrorCode = keyof typeof ERRORS

export const ERROR_BY_WIRE: ReadonlyMap<number, ErrorCode> = new Map(
  Object.entries(ERRORS).map(([code, spec]) => [spec.wire, code as ErrorCode]),
)

/** What an error may carry besides code and message. Times in milliseconds; position counts characters from 1. */
export interface ErrorDetails {
  readonly retryAfterMs?: number | undefined
  readonly sqlState?: string | undefined
  readonly detail?: string | undefined
  readonly hint?: string | undefined
  readonly position?: number | undefined
  readonly correlationId?: string | undefined
  readonly cause?: unknown
}

export class HearthError extends Error {
  override readonly name = 'HearthError'
  readonly code: ErrorCode
  readonly retryable: boolean
  declare readonly retryAfterMs?: number
  declare readonly sqlState?: string
  declare readonly detail?: string
  declare readonly hint?: string
  declare readonly position?: number
  declare readonly correlationId?: string

  /** `message` says what happened and what to do; left out, the code's own text stands. */
  constructor(code: ErrorCode, message?: string, details: ErrorDetails = {}) {
    super(
      message ?? ERRORS[code].text,
      details.cause === undefined ? undefined : { cause: details.cause },
    )
    this.code = code
    this.retryable = ERRORS[code].retry === 'later'
    for (const field of DETAIL_FIELDS) {
      if (details[field] !== undefined) Object.defineProperty(this, field, shown(details[field]))
    }
  }
}

/** The detail fields that travel on the wire, in the order of the README. */
export const DETAIL_FIELDS = [
  'retryAfterMs',
  'sqlState',
  'detail',
  'hint',
  'position',
  'correlationId',
] as const satisfies readonly (keyof ErrorDetails)[]

export function isHearthError(error: unknown): error is HearthError {
  return error instanceof Error && error.name === 'HearthError' && 'code' in error
}

/** Any thrown thing as a HearthError: a foreign one becomes UNAVAILABLE with its own words kept. */
export function toHearthError(error: unknown, code: ErrorCode = 'UNAVAILABLE'): HearthError {
  if (isHearthError(error)) return error
  return new HearthError(code, error instanceof Error ? error.message : String(error), {
    cause: error,
  })
}

function shown(value: unknown): PropertyDescriptor {
  return { value, enumerable: true, configurable: true }
}
