/** refresh_spec: the row of the protocol's table for a database whose schema was changed past the engine.
 *  Owns:   REFRESH_OPS.   Not here: the whole table (spec.ts), of which it is a part.
 *  Thread: any.
 *  Holds:  as spec.ts does. */

import type { FrameSpec } from './frame_spec.ts'

export const REFRESH_OPS = {
  REFRESH: {
    code: 0x60,
    args: [
      ['database', 'text'],
      ['correlationId', 'text'],
    ],
    on: 'both',
    worker: 'postgres',
    needs: 'sqlWrite',
    repeatable: true,
    replies: ['OK'],
    doc: 'The schema of a database was changed past the engine. Before the reply its cached results are ended; what was known of its statements, and their plans on connections, is not used again.',
  },
} as const satisfies Record<string, FrameSpec>
