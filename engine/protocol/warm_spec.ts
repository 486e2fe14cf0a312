/** warm_spec: the rows of the protocol's table for the entries read most: kept in the file, and brought back at a start.
 *  Owns:   WARM_OPS, WARM_REPLIES.   Not here: the whole table (spec.ts), of which they are a part.
 *  Thread: any.
 *  Holds:  as spec.ts does. */

import type { FrameSpec } from './frame_spec.ts'

export const WARM_OPS = {
  SAVE_HOT: {
    code: 0x54,
    args: [
      ['isFirst', 'uint'],
      ['isLast', 'uint'],
      ['entries', 'bytes'],
    ],
    on: 'ring',
    worker: 'sqlite',
    replies: ['COUNT'],
    doc: 'A part of the list of keys read most: level (uint), key (str), by turns. The last part writes the list; COUNT is its bytes then, else 0.',
  },
  LOAD_HOT: {
    code: 0x55,
    args: [
      ['isFirst', 'uint'],
      ['valueBytesMax', 'uint'],
    ],
    on: 'ring',
    worker: 'sqlite',
    replies: ['HOT'],
    doc: 'The next entries of the list of keys read most, from its beginning with `isFirst` 1. Longer values are left out.',
  },
  SAVE_RESULTS: {
    code: 0x49,
    args: [['list', 'bytes']],
    on: 'ring',
    worker: 'sqlite',
    replies: ['COUNT'],
    doc: 'The list of the results read most, and of how they were asked for, as main alone reads it; COUNT is its bytes once it is written.',
  },
  LOAD_RESULTS: {
    code: 0x4a,
    args: [],
    on: 'ring',
    worker: 'sqlite',
    replies: ['BYTES'],
    doc: 'That list, as it was written last; empty where there is none.',
  },
  ADVISE_RESULT: {
    code: 0x38,
    args: [
      ['database', 'text'],
      ['sql', 'text'],
    ],
    on: 'ring',
    worker: 'postgres',
    replies: ['COUNT'],
    doc: 'Whether results of a statement are worth fetching before anybody asks: 1 if it is proven to read, may be cached, and its results were seen to change seldom; else 0. Answered once writes from elsewhere are listened for, so that what is fetched then does not end when they are.',
  },
} as const satisfies Record<string, FrameSpec>

export const WARM_REPLIES = {
  HOT: {
    code: 0x98,
    args: [
      ['outOf', 'uint'],
      ['left', 'uint'],
      ['found', 'bytes'],
    ],
    on: 'ring',
    doc: 'Entries of the list that can be given, hottest first, each as in FOUND_MANY with its level in place of an index; how many the list has, and how many of them are yet to come.',
  },
} as const satisfies Record<string, FrameSpec>
