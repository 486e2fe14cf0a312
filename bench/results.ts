/** results: bench/RESULTS.md, in two parts that are measured apart: beside rivals, and the cache by itself.
 *  Owns:   the file.   Not here: what stands in it (macro/peers.ts, macro/cache.ts).
 *  Thread: main of a bench.
 *  Holds:  writing one part leaves the other as it is. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const FILE = join(import.meta.dirname, 'RESULTS.md')
/** The second part begins with it. */
export const CACHE_TITLE = '### The cache by itself'

/** Replaces a part by Markdown that ends with a line break; that of the cache begins with CACHE_TITLE. */
export function writeResults(part: 'peers' | 'cache', text: string): void {
  const old = existsSync(FILE) ? readFileSync(FILE, 'utf8') : ''
  const at = old.indexOf(CACHE_TITLE)
  const peers = part === 'peers' ? text : at < 0 ? old : old.slice(0, at)
  const cache = part === 'cache' ? text : at < 0 ? '' : old.slice(at)
  writeFileSync(FILE, cache === '' ? peers : `${peers.trimEnd()}\n\n${cache}`)
}
