/** get: the value of a key.
 *  Owns:   nothing.   Thread: main.
 *  Holds:  a missing key is exit code 1; with --json also `null`, which a stored null prints too, with exit code 0. */

import { withEngine } from '../client.ts'
import type { Input } from '../input.ts'
import { complain, print, printJson } from '../output.ts'
import { shownValue } from '../values.ts'

export async function run(input: Input): Promise<number> {
  const key = input.operands[0]!
  const value = await withEngine(input, hearth => hearth.cache.get(key))
  if (value === undefined) {
    if (input.isJson) printJson(null)
    complain(`hearth: there is no value under ${JSON.stringify(key)}`)
    return 1
  }
  if (input.isJson) printJson(value)
  else show(value)
  return 0
}

function show(value: unknown): void {
  const { stdout } = process
  if (value instanceof Uint8Array && !stdout.isTTY) stdout.write(value)
  else print(shownValue(value, stdout.isTTY === true && stdout.hasColors()))
}
