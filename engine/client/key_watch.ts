/** key_watch: `cache.watch`: what happens to keys, whoever does it.
 *  Owns:   nothing.   Not here: how a subscription lives (pattern_subscription.ts), what is told (router/key_changes.ts).
 *  Thread: the client's.
 *  Holds:  a change comes once the key can be read as it is now. */

import { literalGlob } from '../glob.ts'
import { SPACE } from '../protocol/pub_sub_spec.ts'
import type { Connection } from './connection.ts'
import {
  type PatternSubscription,
  type SubscribeOptions,
  subscribe,
} from './pattern_subscription.ts'

/** What happened. An invalidation names no keys, since nobody has a list of those that it ended: any key that has one of the tags,
 *  or matches the pattern (of the whole cache, also where a namespace is watched). */
export type KeyChange =
  | { readonly change: 'set' | 'deleted'; readonly key: string }
  | { readonly change: 'invalidated'; readonly key?: undefined; readonly tags: readonly string[] }
  | { readonly change: 'invalidated'; readonly key?: undefined; readonly pattern: string }

export type KeyWatch = PatternSubscription<KeyChange>

/** Watches the keys behind a prefix that match a glob. */
export async function watchKeys(
  connection: Connection,
  prefix: string,
  glob: string,
  onChange: ((change: KeyChange) => void) | undefined,
  options: SubscribeOptions,
): Promise<KeyWatch> {
  if (typeof glob !== 'string') throw new TypeError('a glob must be a string')
  if (onChange !== undefined && typeof onChange !== 'function')
    throw new TypeError('watch() takes a function for the changes')
  const source = {
    space: SPACE.keys,
    glob: literalGlob(prefix) + glob,
    itemOf: (key: string, told: unknown): KeyChange =>
      typeof told === 'string'
        ? { change: told as 'set' | 'deleted', key: key.slice(prefix.length) }
        : { change: 'invalidated', ...(told as { tags: string[] } | { pattern: string }) },
  }
  return await subscribe(connection, source, onChange, options)
}
