/** Limits: `hearth.limits`: how often something may happen, counted once for all services of the host.
 *  Owns:   nothing.   Not here: what is counted (guard/sliding_log.ts).   Thread: the client's.
 *  Holds:  an answer counts at most one event; a check whose answer was lost may have. */

import {
  BodyReader,
  SCALAR_BYTES_MAX,
  textBytesMax,
  writeText,
  writeUint,
} from '../protocol/body.ts'
import { OPS } from '../protocol/spec.ts'
import type { Connection } from './connection.ts'
import type { Request } from './inflight.ts'
import { checkNames, checkText, milliseconds, whole } from './options.ts'

export interface LimitOptions {
  /** How many may come within the window. */
  readonly max: number
  /** The window's length in milliseconds: it ends at each check, and slides with it. */
  readonly windowMs: number
}

export interface LimitResult {
  /** It may, and has been counted. */
  readonly allowed: boolean
  /** How many more may come now. */
  readonly remaining: number
  /** How long to wait until one may, in milliseconds; 0 when this one might. */
  readonly retryAfterMs: number
}

export class Limits {
  private readonly connection: Connection

  constructor(connection: Connection) {
    this.connection = connection
  }

  /** Whether something may happen once more: at most `max` times within any window of `windowMs`. It is counted if so, and not
   *  counted if not. A subject is any text of at most 256 bytes; windows of different lengths count apart. Rejects with UNAVAILABLE
   *  while the engine is down. */
  async check(subject: string, options: LimitOptions): Promise<LimitResult> {
    checkText('subject', subject)
    checkNames(options, ['max', 'windowMs'])
    const max = whole('max', options.max, 0, 1)
    const windowMs = milliseconds('windowMs', options.windowMs, 0)
    if (max === 0 || windowMs === 0) throw new TypeError('check() needs max and windowMs')
    return (await this.connection.request(new CheckRequest(subject, max, windowMs))) as LimitResult
  }
}

class CheckRequest implements Request {
  readonly op = OPS.LIMIT_CHECK.code
  /** A second one would be counted too. */
  readonly isRepeatable = false
  private readonly subject: string
  private readonly max: number
  private readonly windowMs: number

  constructor(subject: string, max: number, windowMs: number) {
    this.subject = subject
    this.max = max
    this.windowMs = windowMs
  }

  bodyBytesMax(): number {
    return textBytesMax(this.subject) + 2 * SCALAR_BYTES_MAX
  }

  write(target: Buffer, at: number): number {
    const end = writeUint(target, writeText(target, at, this.subject), this.max)
    return writeUint(target, end, this.windowMs)
  }

  read(_op: number, bytes: Buffer, start: number, end: number): LimitResult {
    const reply = new BodyReader().reset(bytes, start, end)
    const allowed = reply.uint() === 1
    return { allowed, remaining: reply.uint(), retryAfterMs: reply.uint() }
  }
}
