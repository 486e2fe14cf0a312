/** Dev screen: what `hearth dev` shows: steps, the loading, how to try it, and the table of answers.
 *  Owns:   the terminal while dev runs.   Not here: the table's content (dev_table.ts), the words (dev_words.ts).
 *  Thread: main.
 *  Holds:  (1) on a terminal one line or one table is redrawn in place; elsewhere every line written stays true.
 *          (2) with --json each line is one JSON object with its `event`. */

import type { DevEngine } from '../dev/dev_engine.ts'
import type { PretendService } from '../dev/pretend_service.ts'
import type { CareEvent } from '../dev/replica_care.ts'
import type { EngineStats } from '../figures.ts'
import { answerFigures, answerLines } from './dev_table.ts'
import { welcome } from './dev_words.ts'
import { print, styled } from './output.ts'
import { count } from './table.ts'
import { jsonText } from './values.ts'

export interface Screen {
  /** How often figures() wants to be called. */
  readonly paceMs: number
  step(sentence: string): void
  rows(loaded: number, total: number): void
  ready(engine: DevEngine, answerCount: number): void
  figures(service: PretendService, stats: EngineStats | undefined): void
  /** A server of Postgres is being mended, or was. */
  care(event: CareEvent): void
  stopping(): void
  stopped(): void
  /** Leaves the terminal as it was found, when something went wrong. */
  close(): void
}

export function createScreen(isJson: boolean): Screen {
  if (isJson) return new JsonScreen()
  return process.stdout.isTTY ? new TerminalScreen() : new PlainScreen()
}

const CURSOR_UP = (lines: number) => (lines > 0 ? `\x1b[${lines}A` : '')
const CLEAR_LINE = '\x1b[2K'
const BAR_CHARS = 30

class TerminalScreen implements Screen {
  readonly paceMs = 1_000
  /** A line that the next write replaces. */
  private hasProgress = false
  private drawnLines = 0

  step(sentence: string): void {
    this.clearProgress()
    print(styled('dim', `${sentence} …`))
  }

  rows(loaded: number, total: number): void {
    const filled = Math.round((BAR_CHARS * loaded) / total)
    const bar = '█'.repeat(filled) + '░'.repeat(BAR_CHARS - filled)
    const text = `loading the sample ${bar} ${count(loaded)} of ${count(total)} readings`
    process.stdout.write(`\r${CLEAR_LINE}${this.cut(text)}`)
    this.hasProgress = true
  }

  ready(engine: DevEngine, answerCount: number): void {
    this.clearProgress()
    print(welcome(engine, answerCount))
  }

  figures(service: PretendService, stats: EngineStats | undefined): void {
    const lines = answerLines(service, stats).map(line => CLEAR_LINE + this.cut(line))
    process.stdout.write(`\r${CURSOR_UP(this.drawnLines)}${lines.join('\n')}\n`)
    this.drawnLines = lines.length
  }

  /** In the place of the table, which is drawn anew below. */
  care({ what, sentence }: CareEvent): void {
    const clear = `\r${CURSOR_UP(this.drawnLines)}\x1b[J`
    const style = what === 'failed' || what === 'given up' ? 'red' : 'yellow'
    process.stdout.write(`${clear}${styled(style, sentence)}\n\n`)
    this.drawnLines = 0
  }

  stopping(): void {
    process.stdout.write(`\r${CLEAR_LINE}stopping …`)
    this.hasProgress = true
  }

  stopped(): void {
    this.clearProgress()
    print('stopped; `.hearth` keeps the data for the next start')
  }

  close(): void {
    if (this.hasProgress) process.stdout.write('\n')
    this.hasProgress = false
  }

  private clearProgress(): void {
    if (this.hasProgress) process.stdout.write(`\r${CLEAR_LINE}`)
    this.hasProgress = false
  }

  /** A line that wraps would be two, and be drawn over wrongly. */
  private cut(line: string): string {
    return line.slice(0, Math.max(20, (process.stdout.columns || 100) - 1))
  }
}

class PlainScreen implements Screen {
  readonly paceMs = 5_000
  private quarters = 0

  step(sentence: string): void {
    print(sentence)
  }

  rows(loaded: number, total: number): void {
    const quarters = Math.floor((4 * loaded) / total)
    if (quarters === this.quarters) return
    this.quarters = quarters
    print(`loading the sample: ${count(loaded)} of ${count(total)} readings`)
  }

  ready(engine: DevEngine, answerCount: number): void {
    print(welcome(engine, answerCount))
  }

  figures(service: PretendService, stats: EngineStats | undefined): void {
    print(answerLines(service, stats).join('\n') + '\n')
  }

  care({ sentence }: CareEvent): void {
    print(sentence)
  }

  stopping(): void {
    print('stopping')
  }

  stopped(): void {
    print('stopped')
  }

  close(): void {}
}

class JsonScreen implements Screen {
  readonly paceMs = 2_000

  step(sentence: string): void {
    this.event('step', { sentence })
  }

  rows(rowsLoaded: number, rowsTotal: number): void {
    this.event('loading', { rowsLoaded, rowsTotal })
  }

  ready(engine: DevEngine, answerCount: number): void {
    const { socket, pageUrl, stateDir, postgresDir, logFile, rowsLoaded, replicaCount } = engine
    const places = { socket, pageUrl, stateDir, postgresDir, logFile }
    this.event('ready', { ...places, rowsLoaded, replicaCount, answerCount })
  }

  figures(service: PretendService, stats: EngineStats | undefined): void {
    this.event('figures', { ...answerFigures(service), engine: stats })
  }

  care({ server, what, sentence }: CareEvent): void {
    this.event('care', { server, what, sentence })
  }

  stopping(): void {
    this.event('stopping', {})
  }

  stopped(): void {
    this.event('stopped', {})
  }

  close(): void {}

  private event(event: string, fields: Record<string, unknown>): void {
    print(jsonText({ event, ...fields }))
  }
}
