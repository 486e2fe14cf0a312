/** set: stores a value, once it is on disk.
 *  Owns:   nothing.   Thread: main.
 *  Holds:  VALUE is JSON when it parses, else the text itself: `42` is a number, `'"42"'` a text of two digits. */

import { withEngine } from '../client.ts'
import { durationOption, type Input } from '../input.ts'
import { print, printJson } from '../output.ts'
import { UsageError } from '../usage_error.ts'

export async function run(input: Input): Promise<number> {
  const [key, text] = input.operands as [string, string]
  const ttlMs = durationOption(input, 'ttl')
  const { policy } = input.options
  if (ttlMs !== undefined && policy !== undefined) {
    throw new UsageError('--ttl and --policy exclude each other', 'set')
  }
  const lifetime = ttlMs !== undefined ? { ttlMs } : policy !== undefined ? { policy } : {}
  const graceMs = durationOption(input, 'grace')
  const options = {
    ...lifetime,
    tags: input.lists['tag'] ?? [],
    ...(graceMs === undefined ? {} : { graceMs }),
  }
  await withEngine(input, hearth => hearth.cache.set(key, parsed(text), options))
  if (input.isJson) printJson({ stored: true })
  else print('stored')
  return 0
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
