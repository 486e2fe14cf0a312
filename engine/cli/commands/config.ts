/** config: the configuration in force, or an example file. Reads files and environment; asks no engine.
 *  Owns:   nothing.   Thread: main.
 *  Holds:  no password is printed (config/explain.ts masks every value). */

import { exampleToml } from '../../config/example.ts'
import { explainJson, explainText } from '../../config/explain.ts'
import { loadConfig } from '../../config/load.ts'
import type { Input } from '../input.ts'
import { print, printJson } from '../output.ts'

export async function run(input: Input): Promise<number> {
  if (input.switches.has('example')) {
    if (input.isJson) printJson({ toml: exampleToml() })
    else print(exampleToml().trimEnd())
    return 0
  }
  const loaded = loadConfig({ file: input.options['config'] })
  if (input.isJson) printJson(explainJson(loaded))
  else print(explainText(loaded).trimEnd())
  return 0
}
