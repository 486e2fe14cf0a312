/** observe_spec: the rows of the protocol's table for what the engine measures of itself: METRICS, SERIES, ALERTS.
 *  Owns:   OBSERVE_OPS.   Not here: the whole table (spec.ts), of which they are a part.
 *  Thread: any.
 *  Holds:  as spec.ts does. */

import type { FrameSpec } from './frame_spec.ts'

export const OBSERVE_OPS = {
  METRICS: {
    code: 0x04,
    args: [],
    on: 'both',
    worker: 'main',
    needs: 'figures',
    repeatable: true,
    replies: ['RESULT'],
    doc: 'All metrics, as `GET /metrics/json` gives them; on a ring, STATS of one worker and what only metrics want.',
  },
  SERIES: {
    code: 0x05,
    args: [['sinceMs', 'time']],
    on: 'socket',
    worker: 'main',
    needs: 'figures',
    repeatable: true,
    replies: ['RESULT'],
    doc: 'Chosen figures of the last ten minutes, as `GET /series` gives them: the samples taken after `sinceMs` (since 1970; 0: all).',
  },
  ALERTS: {
    code: 0x06,
    args: [],
    on: 'socket',
    worker: 'main',
    needs: 'figures',
    repeatable: true,
    replies: ['RESULT'],
    doc: 'The engine’s own alerts, as `GET /alerts` gives them.',
  },
  ALERT_TEST: {
    code: 0x07,
    args: [['channel', 'text']],
    on: 'socket',
    worker: 'main',
    needs: 'admin',
    repeatable: false,
    replies: ['RESULT'],
    doc: 'Sends a test message through each configured channel, or through one (empty: all), and gives what each answered.',
  },
} as const satisfies Record<string, FrameSpec>
