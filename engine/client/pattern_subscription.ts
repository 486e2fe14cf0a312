/** PatternSubscription: `hearth.subscribe(glob)` and `cache.watch(glob)`: what comes on all channels that match.
 *  Owns:   what SUBSCRIBE asks for, and what is made of its messages.   Not here: the engine's side (router/pub_sub.ts), loss and
 *          loops (feed.ts).
 *  Thread: the client's.
 *  Holds:  as feed.ts does. */

import type { Connection } from './connection.ts'
import { Feed, type FeedEvents, type Gap } from './feed.ts'
import type { Request } from './inflight.ts'
import { checkNames } from './options.ts'
import { checkChannel, SubscribeRequest } from './pub_sub_requests.ts'

export interface SubscribeOptions {
  /** As the event `gap`: something may be missing before what comes next. */
  readonly onGap?: (gap: Gap) => void
}

/** What is subscribed to, and what is made of it. */
export interface Source<Item> {
  readonly space: number
  readonly glob: string
  itemOf(channel: string, message: unknown): Item
}

export class PatternSubscription<Item> extends Feed<Item> {
  readonly glob: string
  private readonly source: Source<Item>

  constructor(connection: Connection, source: Source<Item>, onItem?: (item: Item) => void) {
    super(connection, onItem)
    this.source = source
    this.glob = source.glob
    this.ask()
  }

  protected request(events: FeedEvents): Request {
    const { space, glob } = this.source
    return new SubscribeRequest(space, glob, {
      ...events,
      message: (channel, message) => this.take(this.source.itemOf(channel, message)),
    })
  }
}

/** Subscribes; resolves once the engine has confirmed it, so that whatever happens from then on is told. */
export async function subscribe<Item>(
  connection: Connection,
  source: Source<Item>,
  onItem: ((item: Item) => void) | undefined,
  options: SubscribeOptions,
): Promise<PatternSubscription<Item>> {
  checkChannel('a glob', source.glob)
  checkNames(options, ['onGap'])
  const { onGap } = options
  if (onGap !== undefined && typeof onGap !== 'function')
    throw new TypeError('onGap must be a function')
  const subscription = new PatternSubscription(connection, source, onItem)
  if (onGap !== undefined) subscription.on('gap', onGap)
  await subscription.untilOpen()
  return subscription
}
