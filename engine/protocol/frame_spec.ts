/** frame_spec: what a row of the protocol's table says.
 *  Owns:   the types.   Not here: the rows (spec.ts, cache_spec.ts).
 *  Thread: any.   Holds: plain data. */

import type { Right } from './rights.ts'

/** How an argument stands in a body. A body is a sequence of msgpack values, one an argument.
 *  text: str · uint: unsigned integer · time: float64 or unsigned integer, milliseconds since 1970 ·
 *  ttl: nil (the default), unsigned integer of milliseconds, or str (a policy's name) ·
 *  texts: array of str · uints: array of unsigned integers · entries: array of [key, value] · maybe: nil or unsigned integer ·
 *  number: float64 ·
 *  any: one msgpack value, decoded by the receiver · raw: one msgpack value that Hearth never decodes · bytes: plain bytes ·
 *  shape: bin with the columns of a result · count: unsigned integer or nil · values: array of a result's values (rows.ts) */
export type ArgKind =
  | 'text'
  | 'texts'
  | 'uint'
  | 'uints'
  | 'maybe'
  | 'number'
  | 'time'
  | 'ttl'
  | 'entries'
  | 'any'
  | 'raw'
  | 'bytes'
  | 'shape'
  | 'count'
  | 'values'

export interface FrameSpec {
  readonly code: number
  readonly args: readonly (readonly [name: string, kind: ArgKind])[]
  /** `socket` = between client and engine; `ring` = between the main thread and a worker; `both`. */
  readonly on: 'socket' | 'ring' | 'both'
  /** Of a request on the socket: the right that its client's role must have (rights.ts). */
  readonly needs?: Right
  /** The worker kind that answers it when main alone cannot; `main` = no worker is asked. */
  readonly worker?: 'main' | 'sqlite' | 'postgres'
  /** May be sent again after a reconnect: it changes nothing, or changes it to the same thing. */
  readonly repeatable?: boolean
  readonly replies?: readonly string[]
  /** Of a reply: more frames of the same id (on a ring: of the same ticket) follow. */
  readonly more?: boolean
  readonly doc: string
}
