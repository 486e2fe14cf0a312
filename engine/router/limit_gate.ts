/** limit_gate: what a request counts as under the limits of the configuration, and the answer to LIMIT_CHECK.
 *  Owns:   the table from operation to limit.   Not here: what is counted, and how much is too much (guard/).
 *  Thread: main.
 *  Holds:  (1) a request is counted once, however often it is given to the router.  (2) what ends something is never refused, nor
 *          are savepoints: a ROLLBACK TO that was refused would leave standing what its client gave up. */

import { LIMITED, type RateLimits } from '../guard/rate_limit.ts'
import { BodyReader, SCALAR_BYTES_MAX, writeUint } from '../protocol/body.ts'
import { OPS, type OpName, REPLIES } from '../protocol/spec.ts'
import type { ReplyWriter } from './reply.ts'

const SQL: readonly OpName[] = ['QUERY', 'QUERY_CACHED', 'EXECUTE', 'STREAM', 'COPY_OUT', 'COPY_IN']
const CACHE: readonly OpName[] = [
  'GET',
  'SET',
  'DEL',
  'KEYS',
  'LOOKUP',
  'GET_MANY',
  'SET_MANY',
  'TOUCH',
  'INVALIDATE_TAGS',
  'INVALIDATE_PATTERN',
  'INSPECT',
  'STORE',
  'INCREMENT',
  'CLAIM',
  'FILL',
]

const KINDS = new Uint8Array(256)
for (const name of SQL) KINDS[OPS[name].code] = LIMITED.sql
for (const name of CACHE) KINDS[OPS[name].code] = LIMITED.cache

const SAVEPOINT = /^(?:savepoint|release savepoint|rollback to savepoint) hearth_\d+$/
const SAVEPOINT_BYTES_MAX = 48

export class LimitGate {
  private readonly limits: RateLimits
  private readonly request = new BodyReader()

  constructor(limits: RateLimits) {
    this.limits = limits
  }

  /** Counts a request, where its connection has limits. True: takeBack() undoes it. Throws RATE_LIMITED. */
  admit(replies: ReplyWriter, op: number, bytes: Buffer, start: number, end: number): boolean {
    const { limits } = this
    if (!limits.isOn) return false
    const kind = KINDS[op]!
    const { access, account } = replies
    if (kind === LIMITED.none || access.isAdmin || account === undefined) return false
    const isForced = op === OPS.EXECUTE.code && this.isSavepoint(bytes, start, end)
    return limits.admit(account.uid, kind, isForced)
  }

  takeBack(): void {
    this.limits.takeBack()
  }

  /** Takes LIMIT_CHECK. Throws BAD_REQUEST, PROTOCOL. */
  check(replies: ReplyWriter, id: number, bytes: Buffer, start: number, end: number): void {
    const request = this.request.reset(bytes, start, end)
    const subject = request.text()
    const max = request.uint()
    const windowMs = request.uint()
    request.done()
    const { isAllowed, remaining, retryAfterMs } = this.limits.check(subject, max, windowMs)
    let at = replies.begin(3 * SCALAR_BYTES_MAX)
    if (at < 0) return
    at = writeUint(replies.target, at, isAllowed ? 1 : 0)
    at = writeUint(replies.target, at, remaining)
    replies.commit(REPLIES.LIMIT.code, id, writeUint(replies.target, at, retryAfterMs))
  }

  /** What the client itself says around a nested transaction. */
  private isSavepoint(bytes: Buffer, start: number, end: number): boolean {
    const request = this.request.reset(bytes, start, end)
    request.uint()
    request.uint()
    request.textRange()
    request.textRange()
    const { textStart, textEnd } = request
    if (textEnd - textStart > SAVEPOINT_BYTES_MAX) return false
    return SAVEPOINT.test(bytes.toString('latin1', textStart, textEnd))
  }
}
