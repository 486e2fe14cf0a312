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

/** What the keys of one statement begin with. */
export function statementPrefix(engineId: string, database: string, sql: string): string {
  return `${RESERVED}q${hash('sha256', `${engineId}\0${database}\0${sql}`, 'base64url').slice(0, 16)}`
}

/** The key of a statement with its parameters, which are msgpack: bytes[start, end). */
export function queryKey(prefix: string, bytes: Buffer, start: number, end: number): string {
  if (end - start <= PARAMS_BYTES_MAX) return prefix + bytes.toString('latin1', start, end)
  return `${prefix}#${hash('sha256', bytes.subarray(start, end), 'base64url')}`
}

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
