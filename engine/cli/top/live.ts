/** live: `hearth top` on a terminal: looks once a second, draws, and obeys the keys.
 *  Owns:   what is shown now: the last look, the place in it, the pause.
 *  Thread: main.
 *  Holds:  (1) one look at a time.  (2) an engine that goes leaves its last figures, with the time; when it is back they go on. */

import { wallMs } from '../../clock.ts'
import { HearthError } from '../../errors.ts'
import { type Body, bodyOf, frameOf, lineMaxOf } from './frame.ts'
import type { Look, Looker } from './look.ts'
import { Terminal } from './terminal.ts'

const EVERY_MS = 1_000
/** A question that the engine did not take waits for its return; that there is no answer is said sooner. */
const ANSWER_MS_MAX = 3_000

const NOTHING: Body = { lines: ['waiting for the engine'], starts: [0] }

/** Resolves when the reader has had enough. */
export async function live(looker: Looker): Promise<void> {
  const screen = new LiveScreen(looker)
  await screen.run()
}

class LiveScreen {
  private readonly looker: Looker
  private readonly terminal: Terminal
  private readonly end = Promise.withResolvers<void>()
  private newest: Look | undefined
  private body = NOTHING
  private line = 0
  private isPaused = false
  private isLooking = false
  private lostSinceMs: number | undefined
  private answeredMs = wallMs()

  constructor(looker: Looker) {
    this.looker = looker
    this.terminal = new Terminal(
      key => this.obey(key),
      () => this.draw(),
    )
  }

  async run(): Promise<void> {
    const quit = () => this.end.resolve()
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, quit)
    const timer = setInterval(() => void this.look(), EVERY_MS)
    try {
      void this.look()
      await this.end.promise
    } finally {
      clearInterval(timer)
      this.terminal.close()
    }
  }

  private async look(): Promise<void> {
    if (this.isPaused) return
    if (this.isLooking) return this.checkPatience()
    this.isLooking = true
    try {
      const look = await this.looker.look()
      if (this.isPaused) return
      this.newest = look
      this.answeredMs = wallMs()
      this.lostSinceMs = undefined
    } catch (error) {
      if (!(error instanceof HearthError)) return this.end.reject(error)
      this.lostSinceMs = this.answeredMs
    } finally {
      this.isLooking = false
    }
    this.draw()
  }

  private checkPatience(): void {
    if (wallMs() - this.answeredMs < ANSWER_MS_MAX) return
    this.lostSinceMs = this.answeredMs
    this.draw()
  }

  private obey(key: string): void {
    const { rows } = this.terminal.size
    const pageLines = Math.max(1, rows - 4)
    const { starts } = this.body
    const actions: Record<string, () => void> = {
      quit: () => this.end.resolve(),
      pause: () => {
        this.isPaused = !this.isPaused
        this.answeredMs = wallMs()
        if (!this.isPaused) void this.look()
      },
      suspend: () => this.terminal.suspend(),
      up: () => this.line--,
      down: () => this.line++,
      pageUp: () => (this.line -= pageLines),
      pageDown: () => (this.line += pageLines),
      home: () => (this.line = 0),
      end: () => (this.line = this.body.lines.length),
      next: () => (this.line = starts.find(start => start > this.line) ?? 0),
      previous: () => (this.line = starts.findLast(start => start < this.line) ?? 0),
    }
    actions[key]?.()
    this.draw()
  }

  private draw(): void {
    const { size } = this.terminal
    if (this.newest !== undefined) this.body = bodyOf(this.newest, size.columns)
    this.line = Math.min(Math.max(0, this.line), lineMaxOf(this.body, size.rows))
    const { line, isPaused, lostSinceMs } = this
    this.terminal.draw(frameOf(this.newest, this.body, { line, isPaused, lostSinceMs }, size))
  }
}
