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

/** Makes a configured libpq the first that is tried, for the whole process: before any worker asks for one. One that cannot be
 *  loaded is reported, and the system's or the embedded one serves. */
export function chooseLibpq(native: Native | undefined, path: string): void {
  if (native === undefined) return
  const isFirst = native.configureLibpq([path])
  const info = native.libpqInfo()
  if (isFirst && info?.path === path) return
  const reason = isFirst ? (info?.skipped ?? native.libpqProblem()) : 'another is loaded already'
  log('warn', 'engine.libpq is not used', { libpq: path, instead: info?.path ?? 'none', reason })
}
