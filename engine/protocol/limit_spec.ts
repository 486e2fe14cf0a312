/** limit_spec: the rows of the protocol's table for rate limits of named subjects.
 *  Owns:   LIMIT_OPS, LIMIT_REPLIES.   Not here: the whole table (spec.ts), of which they are a part.
 *  Thread: any.
 *  Holds:  as spec.ts does. */

import type { FrameSpec } from './frame_spec.ts'

export const LIMIT_OPS = {
  LIMIT_CHECK: {
    code: 0x57,
    args: [
      ['subject', 'text'],
      ['max', 'uint'],
      ['windowMs', 'uint'],
    ],
    on: 'socket',
    worker: 'main',
    needs: 'write',
    replies: ['LIMIT'],
    doc: 'Counts one event of a subject, unless it has had `max` within the window that ends now.',
  },
} as const satisfies Record<string, FrameSpec>

export const LIMIT_REPLIES = {
  LIMIT: {
    code: 0x99,
    args: [
      ['allowed', 'uint'],
      ['remaining', 'uint'],
      ['retryAfterMs', 'uint'],
    ],
    on: 'socket',
    doc: 'Allowed 1: it was counted, and so many more may come now; 0: it was not, and one may come after so long.',
  },
} as const satisfies Record<string, FrameSpec>
