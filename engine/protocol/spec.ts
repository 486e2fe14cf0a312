/** The protocol as one table: every frame's code, direction and arguments. Types, codec and PROTOCOL.md derive from it.
 *  Owns:   PROTOCOL_VERSION, OPS (requests), REPLIES.   Not here: the header's layout (header.ts), bytes (body.ts).
 *  Thread: any.
 *  Holds:  (1) codes never change once released.  (2) requests are below 0x80, replies from 0x80 up, so a frame's
 *          direction shows in one bit.  (3) `raw` is only ever the last argument: it runs to the end of the frame. */

export const PROTOCOL_VERSION = 1

/** How an argument stands in a body. A body is a sequence of msgpack values, one an argument.
 *  text: str · uint: unsigned integer · time: float64 or unsigned integer, milliseconds since 1970 ·
 *  ttl: nil (the default), unsigned integer of milliseconds, or str (a policy's name) ·
 *  any: one msgpack value, decoded by the receiver · raw: one msgpack value that Hearth never decodes · bytes: plain bytes */
export type ArgKind = 'text' | 'uint' | 'time' | 'ttl' | 'any' | 'raw' | 'bytes'

export interface FrameSpec {
  readonly code: number
  readonly args: readonly (readonly [name: string, kind: ArgKind])[]
  /** `socket` = between client and engine; `ring` = between the main thread and a worker; `both`. */
  readonly on: 'socket' | 'ring' | 'both'
  /** The worker kind that answers it when main alone cannot; `main` = no worker is asked. */
  readonly worker?: 'main' | 'sqlite' | 'postgres'
  /** May be sent again after a reconnect: it changes nothing, or changes it to the same thing. */
  readonly repeatable?: boolean
  readonly replies?: readonly string[]
  readonly doc: string
}

export const OPS = {
  HELLO: {
    code: 0x01,
    args: [
      ['version', 'uint'],
      ['name', 'text'],
    ],
    on: 'socket',
    worker: 'main',
    repeatable: true,
    replies: ['GREETING'],
    doc: 'Must be the first frame. A version the engine does not speak is PROTOCOL and ends the connection.',
  },
  PING: {
    code: 0x02,
    args: [],
    on: 'both',
    worker: 'main',
    repeatable: true,
    replies: ['OK'],
    doc: 'A round trip; on a ring it proves that the worker still answers.',
  },
  ATTACH: {
    code: 0x03,
    args: [],
    on: 'socket',
    worker: 'main',
    replies: ['RESULT'],
    doc: 'Asks for a page to report hits in, by a client that has mapped the segment. RESULT is a map: path, bytes; or nil: there is none, use the socket. Once a connection.',
  },
  GET: {
    code: 0x10,
    args: [['key', 'text']],
    on: 'both',
    worker: 'sqlite',
    repeatable: true,
    replies: ['VALUE_MEMORY', 'VALUE_SQLITE', 'PART', 'MISS'],
    doc: 'The value of a key. A value too large for one frame comes as PART frames, then VALUE_SQLITE with the rest.',
  },
  SET: {
    code: 0x11,
    args: [
      ['key', 'text'],
      ['ttl', 'ttl'],
      ['durability', 'uint'],
      ['value', 'raw'],
    ],
    on: 'socket',
    worker: 'sqlite',
    repeatable: true,
    replies: ['OK'],
    doc: 'Stores a value. Durability 0 (commit) answers once SQLite has committed it, 1 (memory) at once.',
  },
  DEL: {
    code: 0x12,
    args: [['key', 'text']],
    on: 'both',
    worker: 'sqlite',
    repeatable: true,
    replies: ['COUNT'],
    doc: 'Deletes a key; the count is 1 if it was there.',
  },
  KEYS: {
    code: 0x13,
    args: [
      ['glob', 'text'],
      ['after', 'text'],
      ['limit', 'uint'],
    ],
    on: 'both',
    worker: 'sqlite',
    repeatable: true,
    replies: ['RESULT'],
    doc: 'Keys that match a glob, in order, after the one given; RESULT is an array of at most `limit` keys.',
  },
  QUERY: {
    code: 0x20,
    args: [
      ['database', 'text'],
      ['timeoutMs', 'uint'],
      ['correlationId', 'text'],
      ['sql', 'text'],
      ['params', 'any'],
    ],
    on: 'both',
    worker: 'postgres',
    replies: ['RESULT'],
    doc: 'One statement, autocommit. RESULT is a map: rows, rowCount, fields, command, source.',
  },
  STATS: {
    code: 0x30,
    args: [],
    on: 'both',
    worker: 'main',
    repeatable: true,
    replies: ['RESULT'],
    doc: 'The figures of `stats()`; on a ring, those of one worker.',
  },
  HEALTH: {
    code: 0x31,
    args: [],
    on: 'socket',
    worker: 'main',
    repeatable: true,
    replies: ['RESULT'],
    doc: 'Overall and per-part health.',
  },
  PUT: {
    code: 0x40,
    args: [
      ['key', 'text'],
      ['expiresAtMs', 'time'],
      ['value', 'raw'],
    ],
    on: 'ring',
    worker: 'sqlite',
    replies: ['OK'],
    doc: 'SET as the sqlite worker sees it: the expiry is absolute.',
  },
  READ_PART: {
    code: 0x41,
    args: [
      ['key', 'text'],
      ['version', 'uint'],
      ['offset', 'uint'],
      ['limit', 'uint'],
    ],
    on: 'ring',
    worker: 'sqlite',
    replies: ['BYTES', 'ABSENT'],
    doc: 'Bytes of a large value from an offset; ABSENT when the value is no longer that version.',
  },
  STOP: {
    code: 0x7f,
    args: [],
    on: 'ring',
    worker: 'main',
    replies: ['OK'],
    doc: 'Finish what was asked, close every file and connection, answer, end.',
  },
} as const satisfies Record<string, FrameSpec>

export const REPLIES = {
  OK: { code: 0x80, args: [], on: 'both', doc: 'Done.' },
  VALUE_MEMORY: { code: 0x81, args: [['value', 'raw']], on: 'socket', doc: 'A hit in tier 1.' },
  VALUE_SQLITE: {
    code: 0x82,
    args: [['value', 'raw']],
    on: 'socket',
    doc: 'A hit in tier 2, or the last piece of one.',
  },
  MISS: { code: 0x83, args: [], on: 'both', doc: 'No tier has the key.' },
  COUNT: { code: 0x84, args: [['count', 'uint']], on: 'both', doc: 'How many there were.' },
  RESULT: {
    code: 0x85,
    args: [['result', 'any']],
    on: 'both',
    doc: "One value; its shape is the request's.",
  },
  PART: {
    code: 0x86,
    args: [['part', 'bytes']],
    on: 'both',
    doc: 'A piece of a large reply; more frames of this id follow.',
  },
  GREETING: {
    code: 0x87,
    args: [['greeting', 'any']],
    on: 'socket',
    doc: 'A map: version, engine (its hyperid), server (name and release), maxKeyBytes, maxValueBytes, segment.',
  },
  ERROR: {
    code: 0x8f,
    args: [
      ['wire', 'uint'],
      ['message', 'text'],
      ['details', 'any'],
    ],
    on: 'both',
    doc: "A HearthError: the code's wire number, its words, and a map of what else it carries.",
  },
  FOUND: {
    code: 0xc0,
    args: [
      ['key', 'text'],
      ['expiresAtMs', 'time'],
      ['value', 'raw'],
    ],
    on: 'ring',
    doc: 'A tier-2 hit, with all that tier 1 needs to keep it.',
  },
  FOUND_LARGE: {
    code: 0xc1,
    args: [
      ['key', 'text'],
      ['version', 'uint'],
      ['bytes', 'uint'],
    ],
    on: 'ring',
    doc: 'A tier-2 hit whose value is to be fetched by READ_PART.',
  },
  BYTES: { code: 0xc2, args: [['bytes', 'bytes']], on: 'ring', doc: 'Bytes of a large value.' },
  ABSENT: {
    code: 0xc3,
    args: [],
    on: 'ring',
    doc: 'The value changed or went while it was being read.',
  },
  READY: {
    code: 0xc4,
    args: [['report', 'any']],
    on: 'ring',
    doc: 'A worker is open and answers; its figures, by kind.',
  },
} as const satisfies Record<string, FrameSpec>

export type OpName = keyof typeof OPS
export type ReplyName = keyof typeof REPLIES

export const OP_BY_CODE: ReadonlyMap<number, OpName> = byCode(OPS)
export const REPLY_BY_CODE: ReadonlyMap<number, ReplyName> = byCode(REPLIES)

/** Durability of a SET, as it stands in the frame. */
export const DURABILITY = { commit: 0, memory: 1 } as const
export type Durability = keyof typeof DURABILITY

function byCode<Name extends string>(table: Record<Name, FrameSpec>): ReadonlyMap<number, Name> {
  return new Map(Object.entries<FrameSpec>(table).map(([name, spec]) => [spec.code, name as Name]))
}
