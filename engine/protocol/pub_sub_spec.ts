/** pub_sub_spec: the rows of the protocol's table for messages between clients, and what a subscription can be to.
 *  Owns:   PUB_SUB_OPS, PUB_SUB_REPLIES, SPACE.   Not here: the whole table (spec.ts), of which they are a part.
 *  Thread: any.
 *  Holds:  as spec.ts does. */

import type { FrameSpec } from './frame_spec.ts'

export const PUB_SUB_OPS = {
  PUBLISH: {
    code: 0x53,
    args: [
      ['channel', 'text'],
      ['message', 'raw'],
    ],
    on: 'socket',
    worker: 'main',
    needs: 'publish',
    replies: ['COUNT'],
    doc: 'Hands a message to all who subscribe to a glob that matches the channel; the count is of those that it was sent to.',
  },
  SUBSCRIBE: {
    code: 0x56,
    args: [
      ['space', 'uint'],
      ['glob', 'text'],
    ],
    on: 'socket',
    worker: 'main',
    needs: 'subscribe',
    replies: ['LISTENING', 'MESSAGE', 'GAP', 'OK'],
    doc: 'Subscribes to channels by a glob, of space 0 (published messages), 1 (changes of cache keys) or 2 (breakers of services, by name): LISTENING, then any number of MESSAGE and GAP, until CANCEL of its id, which OK answers.',
  },
} as const satisfies Record<string, FrameSpec>

export const PUB_SUB_REPLIES = {
  MESSAGE: {
    code: 0x97,
    args: [
      ['channel', 'text'],
      ['message', 'raw'],
    ],
    on: 'socket',
    more: true,
    doc: 'What was published. Of space 1 the channel is the key and the message "set" or "deleted"; or the channel is empty and the message a map, with `tags` or with `pattern`: what was invalidated. Of space 2 the message is a map: state, retryAfterMs.',
  },
} as const satisfies Record<string, FrameSpec>

/** What a subscription is to: nobody can publish to any but `messages`. */
export const SPACE = { messages: 0, keys: 1, services: 2 } as const
