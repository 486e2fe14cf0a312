/** The protocol as one table: every frame's code, direction and arguments. Types, codec and PROTOCOL.md derive from it.
 *  Owns:   PROTOCOL_VERSION, OPS (requests), REPLIES.   Not here: the header's layout (header.ts), bytes (body.ts).
 *  Thread: any.
 *  Holds:  (1) codes never change once released.  (2) requests are below 0x80, replies from 0x80 up, so a frame's
 *          direction shows in one bit.  (3) `raw` is only ever the last argument: it runs to the end of the frame.
 *  Length: a table is one idea, however many rows it has. */

import { CACHE_OPS, CACHE_REPLIES } from './cache_spec.ts'
import { CLAIM_OPS, CLAIM_REPLIES } from './claim_spec.ts'
import type { FrameSpec } from './frame_spec.ts'
import { INSIGHT_OPS } from './insight_spec.ts'
import { LEAVE_REPLIES } from './leave_spec.ts'
import { LIMIT_OPS, LIMIT_REPLIES } from './limit_spec.ts'
import { OBSERVE_OPS } from './observe_spec.ts'
import { PUB_SUB_OPS, PUB_SUB_REPLIES } from './pub_sub_spec.ts'
import { QUERY_CACHE_OPS, QUERY_CACHE_REPLIES } from './query_cache_spec.ts'
import { QUOTA_OPS } from './quota_spec.ts'
import { REFRESH_OPS } from './refresh_spec.ts'
import { SERVICE_OPS } from './service_spec.ts'
import { WARM_OPS, WARM_REPLIES } from './warm_spec.ts'

export type { ArgKind, FrameSpec } from './frame_spec.ts'

export const PROTOCOL_VERSION = 1

export const OPS = {
  HELLO: {
    code: 0x01,
    args: [
      ['version', 'uint'],
      ['name', 'text'],
    ],
    on: 'socket',
    worker: 'main',
    needs: 'none',
    repeatable: true,
    replies: ['GREETING', 'LEAVING'],
    doc: 'Must be the first frame. A version the engine does not speak is PROTOCOL and ends the connection.',
  },
  PING: {
    code: 0x02,
    args: [],
    on: 'both',
    worker: 'main',
    needs: 'none',
    repeatable: true,
    replies: ['OK'],
    doc: 'A round trip; on a ring it proves that the worker still answers.',
  },
  ATTACH: {
    code: 0x03,
    args: [],
    on: 'socket',
    worker: 'main',
    needs: 'read',
    replies: ['RESULT'],
    doc: 'Asks for a page to report hits in, by a client that has mapped the segment. RESULT is a map: path, bytes; or nil: there is none, use the socket. Once a connection.',
  },
  ...OBSERVE_OPS,
  GET: {
    code: 0x10,
    args: [['key', 'text']],
    on: 'both',
    worker: 'sqlite',
    needs: 'read',
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
    needs: 'write',
    repeatable: true,
    replies: ['OK'],
    doc: 'Stores a value. Durability 0 (commit) answers once SQLite has committed it, 1 (memory) at once.',
  },
  DEL: {
    code: 0x12,
    args: [['key', 'text']],
    on: 'both',
    worker: 'sqlite',
    needs: 'write',
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
    needs: 'read',
    repeatable: true,
    replies: ['RESULT'],
    doc: 'Keys that match a glob, in order, after the one given; RESULT is an array of at most `limit` keys.',
  },
  ...CACHE_OPS,
  ...CLAIM_OPS,
  ...WARM_OPS,
  ...LIMIT_OPS,
  QUERY: {
    code: 0x20,
    args: [
      ['database', 'text'],
      ['timeoutMs', 'uint'],
      ['priority', 'uint'],
      ['correlationId', 'text'],
      ['sql', 'text'],
      ['params', 'any'],
    ],
    on: 'both',
    worker: 'postgres',
    needs: 'sql',
    replies: ['ROWS'],
    doc: 'One statement, autocommit. Priority: 0 normal, 1 critical, 2 batch.',
  },
  CANCEL: {
    code: 0x21,
    args: [],
    on: 'both',
    worker: 'postgres',
    needs: 'none',
    doc: 'Gives up the SQL request, or ends the LISTEN, whose id is in the header (on a ring: whose ticket). It has no reply of its own: that request is answered, as ever once.',
  },
  BEGIN: {
    code: 0x22,
    args: [
      ['database', 'text'],
      ['timeoutMs', 'uint'],
      ['idleTimeoutMs', 'uint'],
      ['correlationId', 'text'],
      ['isolation', 'text'],
      ['flags', 'uint'],
    ],
    on: 'both',
    worker: 'postgres',
    needs: 'sql',
    replies: ['OPENED'],
    doc: "Opens a transaction. Times are of the whole and of a pause between statements, 0: unlimited and the pool's; no isolation: the server's default; flags: 1 read only, 2 deferrable.",
  },
  EXECUTE: {
    code: 0x23,
    args: [
      ['handle', 'uint'],
      ['timeoutMs', 'uint'],
      ['correlationId', 'text'],
      ['sql', 'text'],
      ['params', 'any'],
    ],
    on: 'both',
    worker: 'postgres',
    needs: 'sql',
    replies: ['ROWS'],
    doc: 'One statement in a transaction; several are run in the order in which they came.',
  },
  COMMIT: {
    code: 0x24,
    args: [['handle', 'uint']],
    on: 'both',
    worker: 'postgres',
    needs: 'sql',
    replies: ['OK'],
    doc: 'Commits a transaction, after the statements that came before; or what a stream or a COPY_OUT did that was read to its end. With OK the handle is closed; an ERROR leaves nothing but the handle to close.',
  },
  CLOSE: {
    code: 0x25,
    args: [['handle', 'uint']],
    on: 'both',
    worker: 'postgres',
    needs: 'none',
    replies: ['OK'],
    doc: 'Closes a handle: rolls a transaction back, closes a stream, ends a COPY (one that was writing leaves nothing). OK also when it had ended by itself.',
  },
  STREAM: {
    code: 0x26,
    args: [
      ['transaction', 'uint'],
      ['database', 'text'],
      ['timeoutMs', 'uint'],
      ['idleTimeoutMs', 'uint'],
      ['correlationId', 'text'],
      ['sql', 'text'],
      ['params', 'any'],
    ],
    on: 'both',
    worker: 'postgres',
    needs: 'sql',
    replies: ['OPENED'],
    doc: 'Opens a cursor, in a transaction of its own (0) or in one that is open (its handle). Times as in BEGIN.',
  },
  FETCH: {
    code: 0x27,
    args: [
      ['handle', 'uint'],
      ['rows', 'uint'],
    ],
    on: 'both',
    worker: 'postgres',
    needs: 'sql',
    replies: ['ROWS'],
    doc: 'The next rows of a stream: as many as make a piece of a bounded size, and at most so many (0: no such limit). None: that was the end.',
  },
  COPY_OUT: {
    code: 0x28,
    args: [
      ['database', 'text'],
      ['timeoutMs', 'uint'],
      ['idleTimeoutMs', 'uint'],
      ['correlationId', 'text'],
      ['sql', 'text'],
    ],
    on: 'both',
    worker: 'postgres',
    needs: 'sql',
    replies: ['OPENED'],
    doc: 'Begins a COPY … TO STDOUT. Times as in BEGIN.',
  },
  COPY_READ: {
    code: 0x29,
    args: [['handle', 'uint']],
    on: 'both',
    worker: 'postgres',
    needs: 'sql',
    replies: ['CHUNK'],
    doc: 'The next bytes of a COPY_OUT. None: that was the end.',
  },
  COPY_IN: {
    code: 0x2a,
    args: [
      ['database', 'text'],
      ['timeoutMs', 'uint'],
      ['idleTimeoutMs', 'uint'],
      ['correlationId', 'text'],
      ['sql', 'text'],
    ],
    on: 'both',
    worker: 'postgres',
    needs: 'sqlWrite',
    replies: ['OPENED'],
    doc: 'Begins a COPY … FROM STDIN. Times as in BEGIN.',
  },
  COPY_WRITE: {
    code: 0x2b,
    args: [
      ['handle', 'uint'],
      ['bytes', 'bytes'],
    ],
    on: 'both',
    worker: 'postgres',
    needs: 'sqlWrite',
    replies: ['OK'],
    doc: 'Bytes for a COPY_IN, at most 64 KiB; OK once the connection has taken them. A few may be on their way, more are BUSY.',
  },
  COPY_END: {
    code: 0x2c,
    args: [['handle', 'uint']],
    on: 'both',
    worker: 'postgres',
    needs: 'sqlWrite',
    replies: ['COUNT'],
    doc: 'Ends a COPY_IN and commits it; the count is of its rows. The handle is closed as by COMMIT.',
  },
  LISTEN: {
    code: 0x2d,
    args: [
      ['database', 'text'],
      ['correlationId', 'text'],
      ['channel', 'text'],
    ],
    on: 'both',
    worker: 'postgres',
    needs: 'sql',
    replies: ['LISTENING', 'NOTIFICATION', 'GAP', 'OK'],
    doc: 'Subscribes to a channel: LISTENING, then any number of NOTIFICATION and GAP, until CANCEL of its id, which OK answers.',
  },
  STATS: {
    code: 0x30,
    args: [],
    on: 'both',
    worker: 'main',
    needs: 'figures',
    repeatable: true,
    replies: ['RESULT'],
    doc: 'The figures of `stats()`; on a ring, those of one worker.',
  },
  HEALTH: {
    code: 0x31,
    args: [],
    on: 'socket',
    worker: 'main',
    needs: 'figures',
    repeatable: true,
    replies: ['RESULT'],
    doc: 'Overall and per-part health.',
  },
  PUT: {
    code: 0x40,
    args: [
      ['key', 'text'],
      ['expiresAtMs', 'time'],
      ['version', 'time'],
      ['value', 'raw'],
    ],
    on: 'ring',
    worker: 'sqlite',
    replies: ['OK'],
    doc: 'SET as the sqlite worker sees it: the expiry is absolute, and main has given a version.',
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
  ...PUB_SUB_OPS,
  ...QUERY_CACHE_OPS,
  ...QUOTA_OPS,
  ...REFRESH_OPS,
  ...INSIGHT_OPS,
  ...SERVICE_OPS,
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
    more: true,
    doc: 'A piece of a large reply; more frames of this id follow.',
  },
  GREETING: {
    code: 0x87,
    args: [['greeting', 'any']],
    on: 'socket',
    doc: 'A map: version, engine (its hyperid), server (name and release), maxKeyBytes, maxValueBytes, segment.',
  },
  OPENED: {
    code: 0x89,
    args: [['handle', 'uint']],
    on: 'both',
    doc: 'What was opened lasts until it is closed, at the latest with this connection, and is known to this connection alone.',
  },
  CHUNK: { code: 0x8a, args: [['bytes', 'bytes']], on: 'both', doc: 'Bytes of a COPY.' },
  LISTENING: {
    code: 0x8b,
    args: [],
    on: 'both',
    more: true,
    doc: 'From now on notifications of the channel are delivered.',
  },
  NOTIFICATION: {
    code: 0x8c,
    args: [['payload', 'text']],
    on: 'both',
    more: true,
    doc: 'What somebody notified the channel of.',
  },
  GAP: {
    code: 0x8d,
    args: [
      ['lost', 'uint'],
      ['why', 'text'],
    ],
    on: 'both',
    more: true,
    doc: 'Notifications may have been lost before this point: so many, or (0) nobody knows.',
  },
  ROWS: {
    code: 0x88,
    args: [
      ['source', 'text'],
      ['shape', 'shape'],
      ['command', 'text'],
      ['rowCount', 'count'],
      ['values', 'values'],
    ],
    on: 'both',
    doc: 'The result of a statement: who answered, its columns, what it did, and its rows.',
  },
  ...CACHE_REPLIES,
  ...CLAIM_REPLIES,
  ...LIMIT_REPLIES,
  ...LEAVE_REPLIES,
  ...PUB_SUB_REPLIES,
  ...QUERY_CACHE_REPLIES,
  ...WARM_REPLIES,
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
      ['version', 'time'],
      ['value', 'raw'],
    ],
    on: 'ring',
    doc: 'A tier-2 hit, with all that tier 1 needs to keep it.',
  },
  FOUND_LARGE: {
    code: 0xc1,
    args: [
      ['key', 'text'],
      ['expiresAtMs', 'time'],
      ['version', 'time'],
      ['tags', 'uints'],
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

/** Priorities of QUERY, as they stand in the frame. */
export const PRIORITY = { normal: 0, critical: 1, batch: 2 } as const
export type Priority = keyof typeof PRIORITY

/** Flags of BEGIN. */
export const BEGIN_FLAGS = { readOnly: 1, deferrable: 2 } as const

/** 1 for the codes of replies after which more of the same request follow, else 0: asked for every reply on a ring. */
export const HAS_MORE: Uint8Array = new Uint8Array(256)
for (const spec of Object.values<FrameSpec>(REPLIES)) if (spec.more) HAS_MORE[spec.code] = 1

/** Durability of a SET, as it stands in the frame. */
export const DURABILITY = { commit: 0, memory: 1 } as const
export type Durability = keyof typeof DURABILITY

function byCode<Name extends string>(table: Record<Name, FrameSpec>): ReadonlyMap<number, Name> {
  return new Map(Object.entries<FrameSpec>(table).map(([name, spec]) => [spec.code, name as Name]))
}
