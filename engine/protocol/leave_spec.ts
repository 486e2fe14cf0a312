/** leave_spec: how an engine that is about to stop lets its clients go without losing anything.
 *  Owns:   the rows.   Not here: the table they are part of (spec.ts).
 *  Thread: any.   Holds: as spec.ts does. */

import type { FrameSpec } from './frame_spec.ts'

/** The id of a frame that answers no request. */
export const NO_ID = 0xffff_ffff

export const LEAVE_REPLIES = {
  LEAVING: {
    code: 0xa0,
    args: [],
    on: 'socket',
    doc: 'The engine is about to stop; its id is 0xffffffff, of no request. What was asked is answered yet. Ask nothing more here but for what is open here, close once all is answered, and connect anew: the next engine may be waiting.',
  },
} as const satisfies Record<string, FrameSpec>
