/** query_key: under which keys and tags results of statements stand in the cache.
 *  Owns:   the form of both.   Thread: main and the client's, which must agree.
 *  Holds:  (1) such a key begins as RESERVED says, which no key of a client's may.  (2) another engine, database, text or list of
 *          parameters is another key. An engine's id is new with each start, so nothing is found that an earlier one kept.
 *          (3) a key is shorter than any limit on keys. */

import { hash } from 'node:crypto'

/** The first two characters of every key that is the engine's own. */
export const RESERVED = '\0\u0001'

/** Parameters longer than this, as msgpack, are in the key by their hash. */
export const PARAMS_BYTES_MAX = 96

const NAME_CHARS = 16
/** All of it is ASCII. */
const PREFIX_BYTES = RESERVED.length + 1 + NAME_CHARS

/** What the keys of one statement begin with. */
export function statementPrefix(engineId: string, database: string, sql: string): string {
  const name = hash('sha256', `${engineId}\0${database}\0${sql}`, 'base64url')
  return `${RESERVED}q${name.slice(0, NAME_CHARS)}`
}

/** The key of a statement with its parameters, which are msgpack: bytes[start, end). */
export function queryKey(prefix: string, bytes: Buffer, start: number, end: number): string {
  if (end - start <= PARAMS_BYTES_MAX) return prefix + bytes.toString('latin1', start, end)
  return `${prefix}#${hash('sha256', bytes.subarray(start, end), 'base64url')}`
}

/** Whether a key, which begins at bytes[start], is a result's. */
export function isQueryKey(bytes: Buffer, start: number): boolean {
  return bytes[start] === 0 && bytes[start + 1] === 1 && bytes[start + 2] === Q
}

/** A result's key, bytes[start, end), taken apart: the statement's part, and the parameters as msgpack. Undefined where these are
 *  there by their hash alone. */
export function readQueryKey(
  bytes: Buffer,
  start: number,
  end: number,
): { readonly prefix: string; readonly params: Buffer } | undefined {
  const paramsAt = start + PREFIX_BYTES
  // msgpack of a list never begins with a #.
  if (paramsAt >= end || bytes[paramsAt] === HASH_SIGN) return undefined
  const params = Buffer.from(bytes.toString('utf8', paramsAt, end), 'latin1')
  return { prefix: bytes.toString('latin1', start, paramsAt), params }
}

const Q = 0x71
const HASH_SIGN = 0x23

/** Stands for a statement of a database, whichever engine runs it. */
export function databaseKey(database: string, sql: string): string {
  return `${database}\0${sql}`
}

/** The tag of every result that read a table. */
export function tableTag(database: string, oid: number): string {
  return `${RESERVED}t${oid}:${database}`
}

/** The tag of every result of a database. */
export function databaseTag(database: string): string {
  return `${RESERVED}d:${database}`
}
