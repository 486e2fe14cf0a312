/** native: the native binding, or undefined where it is not built: the engine then works without what only C can do.
 *  Owns:   nothing.   Thread: any.
 *  Holds:  without it tier 1 is not shared, peers are unknown and SQL is NOT_CONFIGURED; the cache goes on working,
 *          and threads wake each other through Atomics.waitAsync. */

import { type Doorbells, loadDoorbells } from '../native-bindings/doorbell.ts'
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

let doorbells: Doorbells | undefined
let isDoorbellsTried = false

/** This thread's native doorbells; undefined where the binding is not built, which loadNative() has reported. */
export function nativeDoorbells(): Doorbells | undefined {
  if (isDoorbellsTried) return doorbells
  isDoorbellsTried = true
  try {
    doorbells = loadDoorbells()
  } catch {
    // Threads are woken through Atomics.waitAsync then.
  }
  return doorbells
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

/** Where every database is on this host, so that nothing is encrypted, the newest libpq is taken: half again as many statements
 *  a second as with one of a release before 17. With a database elsewhere it is the system's, whose OpenSSL is kept up to date. */
export function preferNewerLibpq(native: Native | undefined, urls: readonly string[]): void {
  if (native === undefined || urls.length === 0 || !urls.every(isOnThisHost)) return
  const path = native.newerLibpq()
  if (path !== undefined) native.configureLibpq([path])
}

const LOCAL = String.raw`(?:%2f[^/?]*|localhost|127(?:\.\d+){3}|\[::1\])?`
const LOCAL_URI = new RegExp(
  String.raw`^postgres(?:ql)?://(?:[^@/?]*@)?${LOCAL}(?::\d+)?(?:[/?]|$)`,
  'i',
)
const NAMED_HOST = /[?&\s]host(?:addr)?\s*=\s*'?([^&\s']*)/gi
const LOCAL_NAME = /^(?:\/.*|%2f.*|localhost|127(?:\.\d+){3}|::1|)$/i

/** Over a Unix socket or the loopback, as far as its url tells, and without TLS asked for. */
export function isOnThisHost(url: string): boolean {
  if (/sslmode\s*=\s*'?(?:require|verify)/i.test(url)) return false
  if (/^postgres(?:ql)?:/i.test(url) && !LOCAL_URI.test(url)) return false
  return [...` ${url}`.matchAll(NAMED_HOST)].every(([, host]) => LOCAL_NAME.test(host!))
}
