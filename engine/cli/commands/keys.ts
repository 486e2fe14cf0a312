/** keys: the keys that match a glob, in order.
 *  Owns:   nothing.   Thread: main.
 *  Holds:  printed as they come, so a cache of any size is listed in bounded memory; a key is one line. */

import { withEngine } from '../client.ts'
import type { Input } from '../input.ts'
import { print } from '../output.ts'
import { oneLine } from '../values.ts'

export async function run(input: Input): Promise<number> {
  const glob = input.operands[0] ?? '*'
  await withEngine(input, async hearth => {
    if (!input.isJson) {
      for await (const key of hearth.cache.keys(glob)) print(oneLine(key))
      return
    }
    let opening = '['
    for await (const key of hearth.cache.keys(glob)) {
      process.stdout.write(opening + JSON.stringify(key))
      opening = ','
    }
    print(opening === '[' ? '[]' : ']')
  })
  return 0
}
