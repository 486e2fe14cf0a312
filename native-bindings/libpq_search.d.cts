/** libpq_search: the types of libpq_search.cjs.
 *  Owns: nothing.   Thread: any.   Holds: mirrors its module. */
import type { LibpqInfo } from './index.ts'

export function findLibpq(from?: string): LibpqInfo | string
export function embeddedLibpq(start: string): string | undefined
export function newerLibpq(from?: string): string | undefined
export function systemLibpq(): string | undefined
