/** insight_spec: the rows of the protocol's table for query insight.
 *  Owns:   INSIGHT_OPS.   Not here: the whole table (spec.ts), of which they are a part.
 *  Thread: any.
 *  Holds:  as spec.ts does. */

import type { FrameSpec } from './frame_spec.ts'

export const INSIGHT_OPS = {
  INTRODUCE: {
    code: 0x36,
    args: [
      ['client', 'uint'],
      ['name', 'text'],
    ],
    on: 'ring',
    worker: 'postgres',
    replies: ['OK'],
    doc: 'Who has the number of a client: its name and user. Sent once for each connection that asks anything of Postgres.',
  },
  CACHE_OUTCOMES: {
    code: 0x37,
    args: [['outcomes', 'any']],
    on: 'ring',
    worker: 'postgres',
    replies: ['OK'],
    doc: 'How requests for cached results were answered since the last such frame: an array of arrays: database, sql, and how many from memory, from SQLite, in place, stale, shared, and not at all.',
  },
  INSIGHT: {
    code: 0x5c,
    args: [
      ['what', 'text'],
      ['options', 'any'],
    ],
    on: 'both',
    worker: 'postgres',
    needs: 'sqlWrite',
    repeatable: true,
    replies: ['RESULT'],
    doc: 'What is known of the statements that ran: statements, slow, bursts, plans; plan (of a database and fingerprint). Changes nothing.',
  },
  // For administrators: one copies a part of a table, the other forgets what all have asked.
  INSIGHT_ADMIN: {
    code: 0x5e,
    args: [
      ['what', 'text'],
      ['options', 'any'],
    ],
    on: 'both',
    worker: 'postgres',
    needs: 'admin',
    replies: ['RESULT'],
    doc: 'For administrators. proof: what an index would do for a statement (of a database and fingerprint), tried and rolled back; reset: forgets all figures.',
  },
  COUNT_IN_PLACE: {
    code: 0x5d,
    args: [
      ['database', 'text'],
      ['sql', 'text'],
      ['count', 'uint'],
    ],
    on: 'socket',
    worker: 'main',
    needs: 'sql',
    replies: ['OK'],
    doc: 'How often a client has read results of a statement in place since it said so last.',
  },
} as const satisfies Record<string, FrameSpec>
