/** query_cache_spec: the rows of the protocol's table for results of statements that are kept in the cache.
 *  Owns:   QUERY_CACHE_OPS, QUERY_CACHE_REPLIES.   Not here: the whole table (spec.ts), of which they are a part.
 *  Thread: any.
 *  Holds:  as spec.ts does. */

import type { FrameSpec } from './frame_spec.ts'

export const QUERY_CACHE_OPS = {
  QUERY_CACHED: {
    code: 0x2e,
    args: [
      ['ttl', 'ttl'],
      ['staleMs', 'uint'],
      ['eagerMs', 'uint'],
      ['adaptiveMinMs', 'uint'],
      ['adaptiveMaxMs', 'uint'],
      ['tags', 'texts'],
      ['database', 'text'],
      ['timeoutMs', 'uint'],
      ['priority', 'uint'],
      ['correlationId', 'text'],
      ['sql', 'text'],
      ['params', 'raw'],
    ],
    on: 'socket',
    worker: 'postgres',
    needs: 'sql',
    replies: ['ROWS', 'VALUE_MEMORY', 'VALUE_SQLITE'],
    doc: 'QUERY whose result may come from the cache, and is kept there if it may be; from a tier it is the body of ROWS, as the value.',
  },
  EXPLAIN_CACHE: {
    code: 0x2f,
    args: [
      ['database', 'text'],
      ['correlationId', 'text'],
      ['sql', 'text'],
    ],
    on: 'both',
    worker: 'postgres',
    needs: 'sql',
    repeatable: true,
    replies: ['RESULT'],
    doc: 'Whether the result of a statement may be cached, why not, and which tables it reads.',
  },
  QUERY_TO_CACHE: {
    code: 0x34,
    args: [
      ['database', 'text'],
      ['timeoutMs', 'uint'],
      ['priority', 'uint'],
      ['correlationId', 'text'],
      ['sql', 'text'],
      ['params', 'any'],
    ],
    on: 'ring',
    worker: 'postgres',
    replies: ['CACHEABLE', 'ROWS'],
    doc: 'QUERY whose answer begins with CACHEABLE.',
  },
  WATCH_WRITES: {
    code: 0x35,
    args: [],
    on: 'ring',
    worker: 'postgres',
    replies: ['INVALIDATED', 'OK'],
    doc: 'Asks to be told, from now on and before the reply to it, of each write that may have changed what is cached.',
  },
} as const satisfies Record<string, FrameSpec>

export const QUERY_CACHE_REPLIES = {
  CACHEABLE: {
    code: 0x8e,
    args: [
      ['refusal', 'text'],
      ['lastedMs', 'uint'],
      ['tables', 'uints'],
    ],
    on: 'ring',
    more: true,
    doc: 'Why the rows that follow may not be cached; empty: they may, as long as none of the tables (by oid) is written. lastedMs: how long results of the statement were seen to last, 0: unknown.',
  },
  INVALIDATED: {
    code: 0xc7,
    args: [
      ['database', 'text'],
      ['tables', 'uints'],
    ],
    on: 'ring',
    more: true,
    doc: 'Tables (by oid) that were, or may have been, written; none: any of the database; without a name: any of any.',
  },
} as const satisfies Record<string, FrameSpec>
