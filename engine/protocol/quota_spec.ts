/** quota_spec: the row of the protocol's table for how much of tier 2 a namespace takes.
 *  Owns:   QUOTA_OPS.   Not here: the whole table (spec.ts), of which it is a part.
 *  Thread: any.
 *  Holds:  as spec.ts does. */

import type { FrameSpec } from './frame_spec.ts'

export const QUOTA_OPS = {
  COUNT_BYTES: {
    code: 0x64,
    args: [
      ['from', 'text'],
      ['below', 'text'],
    ],
    on: 'ring',
    worker: 'sqlite',
    replies: ['RESULT'],
    doc: 'The bytes of keys and values, of a batch of keys in order; RESULT is [bytes, the key to go on behind, or null].',
  },
} as const satisfies Record<string, FrameSpec>
