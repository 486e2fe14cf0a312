/** invalidate: ends entries by tag or by pattern.
 *  Owns:   nothing.   Thread: main.
 *  Holds:  what was invalidated stays so over a restart; that nothing had to go is no failure. */

import { withEngine } from '../client.ts'
import type { Input } from '../input.ts'
import { print, printJson } from '../output.ts'
import { UsageError } from '../usage_error.ts'

export async function run(input: Input): Promise<number> {
  const tags = input.lists['tag'] ?? []
  const { pattern } = input.options
  if (tags.length === 0 && pattern === undefined)
    throw new UsageError('invalidate needs --tag or --pattern', 'invalidate')
  const invalidated = await withEngine(input, async hearth => {
    const byTag = tags.length > 0 ? await hearth.cache.invalidateTags(tags) : 0
    return byTag + (pattern === undefined ? 0 : await hearth.cache.invalidatePattern(pattern))
  })
  if (input.isJson) printJson({ invalidated })
  else print(`invalidated ${invalidated} ${invalidated === 1 ? 'entry' : 'entries'}`)
  return 0
}
