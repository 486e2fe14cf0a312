/** claim_spec: the rows of the protocol's table for loading a missing key once a host: CLAIM, FILL, RELEASE.
 *  Owns:   CLAIM_OPS, CLAIM_REPLIES, CLAIM_FLAG, OUTCOME.   Not here: the whole table (spec.ts), of which they are a part.
 *  Thread: any.
 *  Holds:  as spec.ts does. */

import type { FrameSpec } from './frame_spec.ts'

export const CLAIM_OPS = {
  CLAIM: {
    code: 0x50,
    args: [
      ['key', 'text'],
      ['waitMs', 'uint'],
      ['limitMs', 'uint'],
      ['seen', 'maybe'],
      ['flags', 'uint'],
      ['tags', 'texts'],
    ],
    on: 'socket',
    worker: 'main',
    needs: 'write',
    repeatable: true,
    replies: ['CLAIMED', 'SETTLED', 'HELD', 'NOTHING'],
    doc: 'Asks to load a key; waits while another does. `seen`: the version of the entry that is not enough. Flags: 1 has a stale value, 2 wants to load in any case.',
  },
  FILL: {
    code: 0x51,
    args: [
      ['token', 'time'],
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
    needs: 'write',
    replies: ['COUNT'],
    doc: 'STORE by the holder of a claim, which it ends; the count is 0, and nothing was stored, if the token is not the newest or what was loaded has been invalidated since.',
  },
  RELEASE: {
    code: 0x52,
    args: [
      ['token', 'time'],
      ['key', 'text'],
      ['outcome', 'uint'],
      ['restMs', 'uint'],
    ],
    on: 'socket',
    worker: 'main',
    needs: 'write',
    replies: ['COUNT'],
    doc: 'Gives a claim up: outcome 0 failed, the next in line loads; 1 there is nothing to store. `restMs`: whoever has a stale value does not load for so long.',
  },
} as const satisfies Record<string, FrameSpec>

export const CLAIM_REPLIES = {
  CLAIMED: {
    code: 0x93,
    args: [['token', 'time']],
    on: 'socket',
    doc: 'The claim is yours: load, then FILL or RELEASE with this token.',
  },
  SETTLED: { code: 0x94, args: [], on: 'socket', doc: 'The key has been stored: look again.' },
  HELD: {
    code: 0x95,
    args: [],
    on: 'socket',
    doc: 'Another still loads the key, or it rests after a failure.',
  },
  NOTHING: {
    code: 0x96,
    args: [],
    on: 'socket',
    doc: 'Another has loaded the key, and there is nothing to store.',
  },
} as const satisfies Record<string, FrameSpec>

/** Flags of CLAIM. */
export const CLAIM_FLAG = { stale: 1, force: 2 } as const

/** Outcomes of RELEASE. */
export const OUTCOME = { failed: 0, nothing: 1 } as const
