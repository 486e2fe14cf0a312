/** top: the engine's figures, live, for a terminal; once, where there is none.
 *  Owns:   the choice between the two.   Not here: the screen (../top/live.ts), the content (../top/blocks.ts).
 *  Thread: main.
 *  Holds:  what is printed once has no colours that the stream cannot show and moves no cursor. */

import { SERIES } from '../../observe/series.ts'
import { withEngine } from '../client.ts'
import type { Input } from '../input.ts'
import { print, printJson } from '../output.ts'
import { plainText } from '../top/frame.ts'
import { live } from '../top/live.ts'
import { type Look, Looker } from '../top/look.ts'

const PLAIN_COLUMNS = 100

export async function run(input: Input): Promise<number> {
  const isLive = process.stdout.isTTY && process.stdin.isTTY && !input.isJson
  return await withEngine(input, async hearth => {
    const looker = new Looker(hearth)
    if (isLive && !input.switches.has('once')) await live(looker)
    else show(await looker.lookWithRates(), input.isJson)
    return 0
  })
}

function show(look: Look, isJson: boolean): void {
  const { history, overview, alerts = null, slow = null } = look
  if (!isJson) return print(plainText(look, process.stdout.columns || PLAIN_COLUMNS))
  const now = Object.fromEntries(SERIES.map(name => [name, history.latest(name)]))
  printJson({ atMs: history.lastAtMs, now, ...overview, alerts, slow })
}
