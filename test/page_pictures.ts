/** page_pictures: the screenshots of the page that README shows, taken anew: `npm run pictures [URL]`.
 *  Owns:   engine/observe/page/screenshots/.   Thread: main.
 *  Holds:  without a URL they are of a `hearth dev` of its own, after three minutes of questions. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Chromium, type TabSettings, WITHOUT_CHROMIUM } from './helpers/chromium.ts'
import { projectFolder, start } from './helpers/cli.ts'
import { PROJECT } from './helpers/engine.ts'

const PICTURES: Readonly<Record<string, TabSettings>> = {
  light: { widthPx: 1200, heightPx: 900 },
  dark: { widthPx: 1200, heightPx: 900, scheme: 'dark' },
  phone: { widthPx: 360, heightPx: 740, isPhone: true },
}
const BYTES_MAX = 150 * 1024
const HISTORY_MS = 180_000

const endings: (() => Promise<void>)[] = []
const ending = { after: (end: () => Promise<void>) => void endings.push(end) }

try {
  if (WITHOUT_CHROMIUM !== false) throw new Error(WITHOUT_CHROMIUM)
  await take(process.argv[2] ?? (await ownEngine()))
} finally {
  for (const end of endings.reverse()) await end()
}

async function take(url: string): Promise<void> {
  const folder = join(PROJECT, 'engine/observe/page/screenshots')
  mkdirSync(folder, { recursive: true })
  const browser = Chromium.start(ending)
  for (const [name, settings] of Object.entries(PICTURES)) {
    const tab = await browser.open(url, settings)
    await tab.until('its figures are there', `document.querySelector('#ops tbody tr')`)
    await sleep(3_000)
    const picture = await tab.picture()
    if (picture.length > BYTES_MAX) throw new Error(`${name} has ${picture.length} bytes`)
    writeFileSync(join(folder, `${name}.png`), picture)
    console.log(`${name}.png  ${picture.length} bytes`)
  }
}

async function ownEngine(): Promise<string> {
  const running = start(['dev'], { cwd: projectFolder(ending) })
  ending.after(async () => {
    running.child.kill('SIGTERM')
    await running.ended
  })
  await running.untilSaid('A pretend home service is asking')
  await sleep(HISTORY_MS)
  return /^page +(\S+)$/m.exec(running.stdout())![1]!
}
