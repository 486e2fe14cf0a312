/** numbers: the figures at a glance, and the memory against what it may be.
 *  Owns:   those elements.   Thread: a browser's.
 *  Holds:  each is a term with its value, and a note that says what to hold it against. */

import type { History } from '../../view/history.ts'
import type { Overview } from '../../view/overview.ts'
import { bytes, percent, shown, UNKNOWN } from '../../view/units.ts'
import { byId, element, setText } from './dom.ts'

interface Figure {
  readonly value: string
  readonly note: string
}

type FigureOf = (overview: Overview, history: History) => Figure

const FIGURES: Readonly<Record<string, FigureOf>> = {
  'Hit rate': ({ hitRateTarget }, history) => ({
    value: shown(hitShareOf(history), 'share'),
    note: hitRateTarget ? `target ${percent(hitRateTarget)}` : 'of both tiers',
  }),
  Requests: (_, history) => ({
    value: shown(history.latest('requestsPerSecond'), 'perSecond'),
    note: `${shown(history.latest('errorsPerSecond'), 'perSecond')} failed`,
  }),
  'Gets, p99': (_, history) => ({
    value: shown(history.latest('getP99Ms'), 'ms'),
    note: `median ${shown(history.latest('getP50Ms'), 'ms')}`,
  }),
  'Queries, p99': (_, history) => ({
    value: shown(history.latest('queryP99Ms'), 'ms'),
    note: `median ${shown(history.latest('queryP50Ms'), 'ms')}`,
  }),
  'Memory above Node': ({ overNodeBytes, budgetBytes }) => ({
    value: shown(overNodeBytes, 'bytes'),
    note: `budget ${bytes(budgetBytes)}`,
  }),
  Clients: ({ clients, inFlight }) => ({
    value: shown(clients, 'count'),
    note: `requests in flight: ${shown(inFlight, 'count')}`,
  }),
}

export class Numbers {
  private readonly places = Object.entries(FIGURES).map(([title, figureOf]) => {
    const value = element('span', { class: 'value' }, UNKNOWN)
    const note = element('span', { class: 'note' })
    const words = element('dd', {}, value, element('br'), note)
    byId('numbers').append(element('div', {}, element('dt', {}, title), words))
    return { figureOf, value, note }
  })

  show(overview: Overview, history: History): void {
    for (const { figureOf, value, note } of this.places) {
      const figure = figureOf(overview, history)
      setText(value, figure.value)
      setText(note, figure.note)
    }
  }
}

/** Of the newest sample in which anything was read. */
export function hitShareOf(history: History): number | null {
  const memory = history.column('memoryHitShare')
  const sqlite = history.column('sqliteHitShare')
  const at = memory.findLastIndex(value => value !== null)
  return at < 0 ? null : memory[at]! + (sqlite[at] ?? 0)
}

/** A meter with its words, for something that has a limit. */
class Budget {
  private readonly meter = element('meter', { min: '0' })
  private readonly words = element('span')
  private readonly place: HTMLElement

  constructor(container: HTMLElement, title: string) {
    const id = `budget-${container.childElementCount}`
    const name = element('strong', { id }, title)
    this.meter.setAttribute('aria-labelledby', id)
    this.place = element('div', { class: 'budget' }, element('p', {}, name, this.words), this.meter)
    container.append(this.place)
  }

  /** `isWanted`: a cache that is full is as it should be, a process that is full is not. */
  show(used: number | null, limit: number | null, isWanted: boolean): void {
    this.place.hidden = used === null || limit === null
    if (used === null || limit === null) return
    const { meter } = this
    meter.max = limit
    meter.low = isWanted ? limit : 0.85 * limit
    meter.high = limit
    meter.optimum = 0
    meter.value = used
    setText(this.words, `${bytes(used)} of ${bytes(limit)}, ${percent(used / limit)}`)
    setText(meter, this.words.textContent)
  }
}

export class Budgets {
  private readonly process = new Budget(byId('budgets'), 'The process, above a bare Node')
  private readonly tiers = [
    new Budget(byId('budgets'), 'Tier 1: shared memory'),
    new Budget(byId('budgets'), 'Tier 2: SQLite, on the disk'),
  ]

  show({ overNodeBytes, budgetBytes, tiers }: Overview): void {
    this.process.show(overNodeBytes, budgetBytes, false)
    for (const [at, { bytes, maxBytes }] of tiers.entries())
      this.tiers[at]!.show(bytes, maxBytes, true)
  }
}
