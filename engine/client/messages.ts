/** messages: `hearth.publish` and `hearth.subscribe`.
 *  Owns:   nothing.   Not here: how a subscription lives (pattern_subscription.ts).   Thread: the client's.
 *  Holds:  a message goes to those who subscribe when the engine takes it, and is kept nowhere. */

import { SPACE } from '../protocol/pub_sub_spec.ts'
import type { Connection } from './connection.ts'
import {
  type PatternSubscription,
  type SubscribeOptions,
  subscribe,
} from './pattern_subscription.ts'
import { checkChannel, PublishRequest } from './pub_sub_requests.ts'

export interface Message<T = unknown> {
  readonly message: T
  readonly channel: string
}

export type OnMessage<T = unknown> = (message: T, channel: string) => void

export async function publish(
  connection: Connection,
  channel: string,
  message: unknown,
): Promise<number> {
  checkChannel('a channel', channel)
  return (await connection.request(new PublishRequest(channel, message))) as number
}

export async function subscribeMessages<T>(
  connection: Connection,
  glob: string,
  onMessage: OnMessage<T> | undefined,
  options: SubscribeOptions,
): Promise<PatternSubscription<Message<T>>> {
  if (onMessage !== undefined && typeof onMessage !== 'function')
    throw new TypeError('subscribe() takes a function for its messages')
  const onItem = onMessage && ((item: Message<T>) => onMessage(item.message, item.channel))
  const source = {
    space: SPACE.messages,
    glob,
    itemOf: (channel: string, message: unknown) => ({ message: message as T, channel }),
  }
  return await subscribe(connection, source, onItem, options)
}
