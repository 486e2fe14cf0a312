/** Terminal: the screen and the keyboard while `hearth top` has them.
 *  Owns:   the alternate screen, raw mode, the cursor.   Not here: what is drawn (frame.ts).
 *  Thread: main.
 *  Holds:  (1) however the process ends, short of SIGKILL, the terminal is as it was found.  (2) a frame is one write, over the old
 *          one, so that nothing flickers. */

import { writeSync } from 'node:fs'
import type { Size } from './frame.ts'

const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l'
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l'
const HOME = '\x1b[H'
const CLEAR_LINE_REST = '\x1b[K'
const CLEAR_BELOW = '\x1b[J'

const KEY_NAMES: Readonly<Record<string, string>> = {
  '\x03': 'quit',
  q: 'quit',
  Q: 'quit',
  p: 'pause',
  P: 'pause',
  ' ': 'pause',
  '\x1a': 'suspend',
  '\x1b[A': 'up',
  '\x1bOA': 'up',
  k: 'up',
  '\x1b[B': 'down',
  '\x1bOB': 'down',
  j: 'down',
  '\x1b[5~': 'pageUp',
  '\x1b[6~': 'pageDown',
  '\x1b[H': 'home',
  '\x1b[1~': 'home',
  g: 'home',
  '\x1b[F': 'end',
  '\x1b[4~': 'end',
  G: 'end',
  '\t': 'next',
  '\x1b[C': 'next',
  '\x1b[Z': 'previous',
  '\x1b[D': 'previous',
}

export class Terminal {
  private isEntered = false
  private readonly onResize: () => void
  private readonly leaveAtEnd = () => this.leave()
  private readonly takeAgain = () => {
    this.enter()
    this.onResize()
  }

  /** `onKey` gets the names of keys, `onResize` is to draw anew. */
  constructor(onKey: (name: string) => void, onResize: () => void) {
    this.onResize = onResize
    process.stdin.on('data', (typed: Buffer) => {
      for (const key of keysIn(typed.toString('latin1'))) onKey(key)
    })
    process.stdin.on('error', () => undefined) // the terminal went: SIGHUP follows
    process.stdout.on('resize', onResize)
    process.on('SIGCONT', this.takeAgain)
    process.on('exit', this.leaveAtEnd)
    this.enter()
  }

  get size(): Size {
    return { columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 }
  }

  draw(lines: readonly string[]): void {
    if (!this.isEntered) return
    const text = lines.map(line => line + CLEAR_LINE_REST).join('\r\n')
    process.stdout.write(HOME + text + CLEAR_BELOW)
  }

  /** Ctrl-Z: gives the terminal back and stops; SIGCONT takes it again, or a moment, where there is no shell that could send it. */
  suspend(): void {
    this.leave()
    process.kill(process.pid, 'SIGTSTP')
    setTimeout(this.takeAgain, 100)
  }

  close(): void {
    this.leave()
    process.stdin.pause()
    process.off('SIGCONT', this.takeAgain)
    process.off('exit', this.leaveAtEnd)
  }

  private enter(): void {
    if (this.isEntered) return
    this.isEntered = true
    if (process.stdin.isTTY) process.stdin.setRawMode(true)
    process.stdout.write(ENTER)
  }

  private leave(): void {
    if (!this.isEntered) return
    this.isEntered = false
    try {
      if (process.stdin.isTTY) process.stdin.setRawMode(false)
      // What was written before may still wait: this must be the last.
      writeSync(process.stdout.fd, LEAVE)
    } catch {
      // The terminal is gone.
    }
  }
}

/** Several keys may come in one read; what is not known is left out. */
function keysIn(typed: string): string[] {
  const found: string[] = []
  for (const [key] of typed.matchAll(KEYS)) if (key in KEY_NAMES) found.push(KEY_NAMES[key]!)
  return found
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: keys begin with them.
const KEYS = /\x1b[[O][\d;]*[A-Za-z~]|[\s\S]/g
