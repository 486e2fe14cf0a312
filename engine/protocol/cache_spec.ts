/** cache_spec: the rows of the protocol's table for what the cache does beyond get, set and delete.
 *  Owns:   CACHE_OPS, CACHE_REPLIES.   Not here: the whole table (spec.ts), of which they are a part.
 *  Thread: any.
 *  Holds:  as spec.ts does. */

import type { FrameSpec } from './frame_spec.ts'

export const CACHE_OPS = {
  LOOKUP: {
    code: 0x14,
    args: [
      ['key', 'text'],
      ['stale', 'uint'],
    ],
    on: 'both',
    worker: 'sqlite',
    repeatable: true,
    replies: ['ENTRY', 'PART', 'MISS'],
    doc: 'GET with all that is known of the entry. `stale` 1: also one that has expired and is within its grace.',
  },
  GET_MANY: {
    code: 0x15,
    args: [['keys', 'texts']],
    on: 'both',
    worker: 'sqlite',
    repeatable: true,
    replies: ['VALUES'],
    doc: 'The values of many keys. What would make the reply too long is to be asked for again.',
  },
  SET_MANY: {
    code: 0x16,
    args: [
      ['ttl', 'ttl'],
      ['durability', 'uint'],
      ['entries', 'entries'],
    ],
    on: 'socket',
    worker: 'sqlite',
    repeatable: true,
    replies: ['OK'],
    doc: 'Stores many values that live equally long, all or none: in the array each key, then its value, bin-wrapped.',
  },
  TOUCH: {
    code: 0x17,
    args: [
      ['key', 'text'],
      ['ttl', 'ttl'],
    ],
    on: 'socket',
    worker: 'sqlite',
    repeatable: true,
    replies: ['COUNT'],
    doc: 'Gives an entry a new time to live from now on; the count is 1 if it was there.',
  },
  INVALIDATE_TAGS: {
    code: 0x18,
    args: [['tags', 'texts']],
    on: 'both',
    worker: 'sqlite',
    repeatable: true,
    replies: ['COUNT'],
    doc: 'Ends every entry that has one of the tags; the count is how many went.',
  },
  INVALIDATE_PATTERN: {
    code: 0x19,
    args: [['glob', 'text']],
    on: 'socket',
    worker: 'sqlite',
    repeatable: true,
    replies: ['COUNT'],
    doc: 'Deletes every key that matches a glob and was stored before; the count is how many went.',
  },
  INSPECT: {
    code: 0x1a,
    args: [['key', 'text']],
    on: 'both',
    worker: 'sqlite',
    repeatable: true,
    replies: ['INSPECTED', 'MISS'],
    doc: 'Whether a key is there, how long it lives yet and its version, without its value. Counts as no read.',
  },
  EXPLAIN: {
    code: 0x1b,
    args: [['key', 'text']],
    on: 'both',
    worker: 'sqlite',
    repeatable: true,
    replies: ['RESULT'],
    doc: 'All that both tiers know of a key, for people: a map.',
  },
  COUNT_READS: {
    code: 0x1c,
    args: [
      ['namespace', 'text'],
      ['memoryHits', 'uint'],
      ['sqliteHits', 'uint'],
      ['misses', 'uint'],
    ],
    on: 'socket',
    worker: 'main',
    replies: ['OK'],
    doc: "Adds a client's reads in a namespace to the engine's figures.",
  },
  STORE: {
    code: 0x1d,
    args: [
      ['key', 'text'],
      ['ttl', 'ttl'],
      ['durability', 'uint'],
      ['ifVersion', 'maybe'],
      ['graceMs', 'uint'],
      ['jitterMs', 'uint'],
      ['adaptiveMinMs', 'uint'],
      ['adaptiveMaxMs', 'uint'],
      ['tags', 'texts'],
      ['value', 'raw'],
    ],
    on: 'socket',
    worker: 'sqlite',
    replies: ['COUNT'],
    doc: 'SET with everything; the count is 0 if the entry was not of `ifVersion` (0: absent). May be sent again without it.',
  },
  INCREMENT: {
    code: 0x1e,
    args: [
      ['key', 'text'],
      ['by', 'number'],
      ['ttl', 'ttl'],
    ],
    on: 'socket',
    worker: 'sqlite',
    replies: ['RESULT'],
    doc: 'Adds to a number, or begins one that lives for `ttl`; RESULT is the sum.',
  },
  PUT_BEHIND: {
    code: 0x42,
    args: [
      ['key', 'text'],
      ['expiresAtMs', 'time'],
      ['version', 'time'],
      ['value', 'raw'],
    ],
    on: 'ring',
    worker: 'sqlite',
    replies: ['OK'],
    doc: 'PUT of a value that may be kept back and written later.',
  },
  PUT_EXTRA: {
    code: 0x43,
    args: [
      ['key', 'text'],
      ['expiresAtMs', 'time'],
      ['version', 'time'],
      ['graceMs', 'uint'],
      ['flags', 'uint'],
      ['ifVersion', 'maybe'],
      ['tags', 'texts'],
      ['value', 'raw'],
    ],
    on: 'ring',
    worker: 'sqlite',
    replies: ['COUNT'],
    doc: 'STORE as the sqlite worker sees it. Flags: 1 may be written later, 2 its time to live adapts.',
  },
  RETIME: {
    code: 0x44,
    args: [
      ['key', 'text'],
      ['expiresAtMs', 'time'],
    ],
    on: 'ring',
    worker: 'sqlite',
    replies: ['COUNT'],
    doc: 'TOUCH as the sqlite worker sees it.',
  },
  ADD: {
    code: 0x45,
    args: [
      ['key', 'text'],
      ['by', 'number'],
      ['expiresAtMs', 'time'],
      ['version', 'time'],
    ],
    on: 'ring',
    worker: 'sqlite',
    replies: ['FOUND', 'FOUND_EXTRA'],
    doc: 'INCREMENT as the sqlite worker sees it; answered with the entry as it is now.',
  },
  PUT_MANY: {
    code: 0x46,
    args: [
      ['expiresAtMs', 'time'],
      ['version', 'time'],
      ['behind', 'uint'],
      ['entries', 'entries'],
    ],
    on: 'ring',
    worker: 'sqlite',
    replies: ['OK'],
    doc: 'SET_MANY as the sqlite worker sees it: the entries have versions from the one given on.',
  },
  DELETE_MATCHING: {
    code: 0x47,
    args: [
      ['glob', 'text'],
      ['after', 'text'],
      ['below', 'time'],
    ],
    on: 'ring',
    worker: 'sqlite',
    replies: ['RESULT'],
    doc: 'Deletes a batch of keys that match and whose version is lower; RESULT is [count, the key to go on after, or null].',
  },
  FLUSH: {
    code: 0x48,
    args: [],
    on: 'ring',
    worker: 'sqlite',
    replies: ['OK'],
    doc: 'Answered once all that was kept back before it has been written, which may be later.',
  },
} as const satisfies Record<string, FrameSpec>

export const CACHE_REPLIES = {
  ENTRY: {
    code: 0x90,
    args: [
      ['tier', 'uint'],
      ['stale', 'uint'],
      ['version', 'time'],
      ['expiresAtMs', 'time'],
      ['value', 'raw'],
    ],
    on: 'socket',
    doc: 'An entry: tier 1 or 2, whether it has expired, and its value. After PARTs their bytes come first.',
  },
  INSPECTED: {
    code: 0x91,
    args: [
      ['expiresAtMs', 'time'],
      ['version', 'time'],
    ],
    on: 'both',
    doc: 'The key is there.',
  },
  VALUES: {
    code: 0x92,
    args: [['values', 'bytes']],
    on: 'socket',
    doc: 'Per key that is there: its index, its tier (0: ask again, 3: ask alone), its value as a bin. Any order.',
  },
  FOUND_EXTRA: {
    code: 0xc5,
    args: [
      ['key', 'text'],
      ['expiresAtMs', 'time'],
      ['version', 'time'],
      ['graceMs', 'uint'],
      ['flags', 'uint'],
      ['tags', 'uints'],
      ['value', 'raw'],
    ],
    on: 'ring',
    doc: 'FOUND of an entry with grace, tags (their hashes) or a time to live that adapts (flag 2).',
  },
  FOUND_MANY: {
    code: 0xc6,
    args: [['found', 'bytes']],
    on: 'ring',
    doc: 'Per key that is there: its index, its tier as in VALUES; of tier 2 then FOUND_EXTRA, the value as a bin.',
  },
} as const satisfies Record<string, FrameSpec>

/** Flags of PUT_EXTRA and FOUND_EXTRA. */
export const ENTRY_FLAG = { behind: 1, adaptive: 2 } as const

/** The tier of a value in VALUES, or why there is none. */
export const TIER = { later: 0, memory: 1, sqlite: 2, alone: 3 } as const
