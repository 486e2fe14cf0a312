/** native: the native binding, or undefined where it is not built: the engine then works without what only C can do.
 *  Owns:   nothing.   Thread: any.
 *  Holds:  without it tier 1 is not shared, peers are unknown and SQL is NOT_CONFIGURED; the cache goes on working. */

import type * as Bindings from '../native-bindings/index.ts'
import { log } from './log.ts'

export type Native = typeof Bindings

export async function loadNative(): Promise<Native | undefined> {
  try {
    return await import('../native-bindings/index.ts')
  } catch (error) {
    log('warn', 'the native binding could not be loaded', { error: (error as Error).message })
    return undefined
  }
}
