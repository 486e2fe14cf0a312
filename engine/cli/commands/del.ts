/** del: deletes keys.
 *  Owns:   nothing.   Thread: main.
 *  Holds:  keys that were not there are no failure: afterwards they are not there. */

import { withEngine } from '../client.ts'
import type { Input } from '../input.ts'
import { print, printJson } from '../output.ts'

export async function run(input: Input): Promise<number> {
  const deleted = await withEngine(input, hearth => hearth.cache.delete(...input.operands))
  if (input.isJson) printJson({ deleted })
  else print(`deleted ${deleted} of ${input.operands.length}`)
  return 0
}
