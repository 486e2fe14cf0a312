/** Permit: whether a client may do what its frame asks: its role's rights, namespaces, databases and quotas.
 *  Owns:   which arguments of which operation are names.   Not here: what a role may do (guard/access.ts).
 *  Thread: main.
 *  Holds:  (1) a frame is permitted before anything is done with it.  (2) an operation of the table that this file does not know is
 *          refused to whoever is limited to namespaces: what names it holds nobody has said.  (3) the unlimited do not come here.
 *
 *  Tags are held to the namespaces as keys are: a tag ends entries wherever they are, so one that begins with `weather:` is the
 *  business of the namespace `weather`, whoever uses it. */

import { Glob } from '../glob.ts'
import { type Access, NEEDS } from '../guard/access.ts'
import { BodyReader } from '../protocol/body.ts'
import { SPACE } from '../protocol/pub_sub_spec.ts'
import type { Right } from '../protocol/rights.ts'
import { type FrameSpec, OP_BY_CODE, OPS } from '../protocol/spec.ts'
import { textsOf } from './key_effects.ts'

/** Throws FORBIDDEN, where a role has not the right that an operation needs. */
export function checkRight(access: Access, op: number): void {
  if ((NEEDS[op]! & access.denied) !== 0) throw refusal(access, op)
  if (op === OPS.INSIGHT.code && access.databases !== undefined)
    throw access.wholeRefusal('INSIGHT')
}

export function refusal(access: Access, op: number): Error {
  const name = OP_BY_CODE.get(op)!
  const { needs = 'admin' } = OPS[name] as FrameSpec
  return access.refusal(name, needs as Right)
}

const reader = new BodyReader()

/** Throws FORBIDDEN, where a frame names something outside the namespaces of its client. Its body is bytes[start, end). */
export function checkNames(
  access: Access,
  op: number,
  bytes: Buffer,
  start: number,
  end: number,
): void {
  const check = CHECKS[op]
  if (check === undefined) throw access.outside('operation', OP_BY_CODE.get(op) ?? String(op))
  check(access, reader.reset(bytes, start, end))
}

type Check = (access: Access, request: BodyReader) => void

const CHECKS: (Check | undefined)[] = new Array(256).fill(undefined)

function nothing(): void {}

function oneKey(access: Access, request: BodyReader): void {
  within(access, 'key', request.text())
}

function manyKeys(access: Access, request: BodyReader): void {
  for (let left = request.arrayHead(); left > 0; left--) oneKey(access, request)
}

function tags(access: Access, request: BodyReader): void {
  for (const tag of textsOf(request)) within(access, 'tag', tag)
}

/** What a glob can match begins with its literal part. */
function glob(access: Access, request: BodyReader): void {
  const pattern = request.text()
  if (!access.covers(new Glob(pattern).prefix)) throw access.outside('pattern', pattern)
}

function within(access: Access, what: string, name: string): void {
  if (!access.covers(name)) throw access.outside(what, name)
}

function define(check: Check, ...specs: readonly FrameSpec[]): void {
  for (const { code } of specs) CHECKS[code] = check
}

define(nothing, OPS.PING, OPS.STATS, OPS.HEALTH, OPS.CANCEL, OPS.CLOSE)
// Their figures are of the whole engine and have no keys in them; services are nobody's namespace.
define(nothing, OPS.METRICS, OPS.SERIES, OPS.ALERTS, OPS.SERVICE, OPS.REPORT_CALLS, OPS.TRY_SERVICE)
define(nothing, OPS.REFRESH, OPS.COUNT_IN_PLACE)
define(nothing, OPS.QUERY, OPS.EXPLAIN_CACHE, OPS.BEGIN, OPS.EXECUTE, OPS.COMMIT, OPS.LISTEN)
define(nothing, OPS.STREAM, OPS.FETCH, OPS.COPY_OUT, OPS.COPY_READ)
define(nothing, OPS.COPY_IN, OPS.COPY_WRITE, OPS.COPY_END)
define(oneKey, OPS.GET, OPS.SET, OPS.DEL, OPS.LOOKUP, OPS.TOUCH, OPS.INSPECT, OPS.EXPLAIN)
define(oneKey, OPS.INCREMENT)
define(manyKeys, OPS.GET_MANY)
define(glob, OPS.KEYS, OPS.INVALIDATE_PATTERN)
define(tags, OPS.INVALIDATE_TAGS)
define((access, request) => within(access, 'channel', request.text()), OPS.PUBLISH)
define((access, request) => within(access, 'subject', request.text()), OPS.LIMIT_CHECK)
define((access, request) => {
  // Breakers of services are nobody's namespace.
  if (request.uint() !== SPACE.services) glob(access, request)
}, OPS.SUBSCRIBE)
define((access, request) => {
  request.ttl()
  request.uint()
  for (let left = request.arrayHead(); left > 0; left -= 2) {
    oneKey(access, request)
    request.binRange()
  }
}, OPS.SET_MANY)
define((access, request) => {
  const namespace = request.text()
  if (!access.covers(`${namespace}:`)) throw access.outside('namespace', namespace)
}, OPS.COUNT_READS)
define(entry, OPS.STORE)
define((access, request) => {
  request.time()
  entry(access, request)
}, OPS.FILL)
define((access, request) => {
  request.time()
  oneKey(access, request)
}, OPS.RELEASE)
define((access, request) => {
  oneKey(access, request)
  request.uint()
  request.uint()
  request.maybeUint()
  request.uint()
  tags(access, request)
}, OPS.CLAIM)
define((access, request) => {
  request.ttl()
  for (let i = 0; i < 4; i++) request.uint()
  tags(access, request)
}, OPS.QUERY_CACHED)

/** STORE's arguments from the key to the tags. */
function entry(access: Access, request: BodyReader): void {
  oneKey(access, request)
  request.ttl()
  request.uint()
  request.maybeUint()
  for (let i = 0; i < 4; i++) request.uint()
  tags(access, request)
}
