/** page: the live page: what the feed brings, put where it belongs.
 *  Owns:   the header: how the engine is, whether it answers, the pause.   Not here: the parts below (tables.ts, live_figure.ts …).
 *  Thread: a browser's.
 *  Holds:  (1) a change of state is told once, to whoever listens rather than looks; a tick is never told.  (2) figures that are no
 *          longer true stay, marked, with the time of the last answer. */

import { CHARTS, type ChartName } from '../../view/charts.ts'
import type { Overview } from '../../view/overview.ts'
import { clockTime, uptime } from '../../view/units.ts'
import type { Bound } from './chart.ts'
import { wallMs } from './clock.ts'
import { byId, setAttribute, setText } from './dom.ts'
import { Feed, type Look } from './feed.ts'
import { LiveFigure } from './live_figure.ts'
import { Budgets, Numbers } from './numbers.ts'
import { Tables } from './tables.ts'

const BOUNDS: Readonly<Partial<Record<ChartName, (overview: Overview) => Bound>>> = {
  hits: ({ hitRateTarget }) => ({ label: 'target', value: hitRateTarget || null }),
  memory: ({ budgetBytes }) => ({ label: 'budget', value: budgetBytes }),
}

/** Charts without anything to show are not there: by `data-needs`, what they need. */
const NEEDS: Readonly<Record<string, (overview: Overview) => boolean>> = {
  pools: ({ pools }) => pools.length > 0,
  servers: ({ servers }) => servers.length > 1,
}

const STATUS_WORDS = {
  ok: 'All is well',
  degraded: 'Degraded: it serves what it still can',
  down: 'Down: it serves nothing',
} as const

const figures = [...document.querySelectorAll<HTMLElement>('[data-chart]')].map(place => {
  const name = place.dataset['chart'] as ChartName
  return { name, figure: new LiveFigure(place, CHARTS[name]) }
})
const needing = [...document.querySelectorAll<HTMLElement>('[data-needs]')]
const numbers = new Numbers()
const budgets = new Budgets()
const tables = new Tables()
let answeredMs: number | undefined

function show(look: Look): void {
  const { overview, history } = look
  answeredMs = wallMs()
  tell(overview.status, STATUS_WORDS[overview.status])
  const { uptimeMs, partCount, troubles } = overview
  const well = partCount - new Set(troubles.map(({ part }) => part)).size
  const facts = [`${well} of ${partCount} parts well`]
  if (uptimeMs !== null) facts.push(`up ${uptime(uptimeMs)}`)
  setText(byId('facts'), facts.join(' · '))
  numbers.show(overview, history)
  budgets.show(overview)
  tables.show(look)
  for (const place of needing) place.hidden = !NEEDS[place.dataset['needs']!]!(overview)
  for (const { name, figure } of figures) figure.show(history, BOUNDS[name]?.(overview))
}

function showLost(): void {
  if (answeredMs === undefined) tell('lost', 'No answer yet; trying again')
  else tell('lost', `No answer since ${clockTime(answeredMs)}; trying again`)
}

/** The state in the header; told besides when it is another than before. */
function tell(state: string, words: string): void {
  setAttribute(byId('state'), 'data-state', state)
  setText(byId('state-words'), words)
  setText(byId('announce'), words)
  document.title = state === 'ok' ? 'Hearth' : `Hearth: ${words}`
  document.body.classList.toggle('is-old', state === 'lost' || state === 'paused')
}

const feed = new Feed(show, showLost)
const pause = byId('pause')
pause.addEventListener('click', () => {
  const isPaused = pause.getAttribute('aria-pressed') !== 'true'
  pause.setAttribute('aria-pressed', String(isPaused))
  if (isPaused) tell('paused', `Paused at ${clockTime(wallMs())}`)
  feed.pause(isPaused)
})
