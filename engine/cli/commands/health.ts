/** health: overall and by part.
 *  Owns:   nothing.   Thread: main.
 *  Holds:  exit code 0 means that everything is ok. */

import type { Status } from '../../figures.ts'
import { withEngine } from '../client.ts'
import type { Input } from '../input.ts'
import { print, printJson, type Style, styled } from '../output.ts'
import { tableLines } from '../table.ts'

const STYLES: Record<Status, Style> = { ok: 'green', degraded: 'yellow', down: 'red' }

export async function run(input: Input): Promise<number> {
  const health = await withEngine(input, hearth => hearth.health())
  if (input.isJson) printJson(health)
  else {
    const columns = [{ title: 'part' }, { title: 'status' }, { title: 'reason' }]
    const rows = Object.entries(health.parts).map(([part, { status, reason, warning }]) => {
      return [part, styled(STYLES[status], status), reason ?? warning ?? '']
    })
    print(`the engine is ${styled(STYLES[health.status], health.status)}\n`)
    print(tableLines(columns, rows).join('\n'))
  }
  return health.status === 'ok' ? 0 : 1
}
