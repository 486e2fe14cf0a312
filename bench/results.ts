/** results: bench/RESULTS.md, in parts that are measured apart.
 *  Owns:   the file.   Not here: what stands in it (macro/peers.ts, macro/cache.ts, macro/load.ts).
 *  Thread: main of a bench.
 *  Holds:  writing one part leaves the others as they are. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const FILE = join(import.meta.dirname, 'RESULTS.md')
/** What a part begins with; the first has the file's own title. */
export const CACHE_TITLE = '### The cache by itself'
export const LOAD_TITLE = '### Many services at once'
const TITLES = { peers: undefined, cache: CACHE_TITLE, load: LOAD_TITLE } as const

export type Part = keyof typeof TITLES

/** Replaces a part by Markdown that begins with its title and ends with a line break. */
export function writeResults(part: Part, text: string): void {
  const parts = partsOf(existsSync(FILE) ? readFileSync(FILE, 'utf8') : '')
  parts.set(part, text)
  const inOrder = (Object.keys(TITLES) as Part[]).map(name => parts.get(name)?.trim() ?? '')
  writeFileSync(FILE, `${inOrder.filter(each => each !== '').join('\n\n')}\n`)
}

function partsOf(text: string): Map<Part, string> {
  const parts = new Map<Part, string>()
  let part: Part = 'peers'
  for (const line of text.split('\n')) {
    const titled = (Object.keys(TITLES) as Part[]).find(name => TITLES[name] === line)
    part = titled ?? part
    parts.set(part, `${parts.get(part) ?? ''}${line}\n`)
  }
  return parts
}
