/** Key lines: on which line of a TOML text each key stands, which the parser does not tell.
 *  Owns:   a scanner that reads keys and steps over values.
 *  Thread: main, at start and reload.
 *  Holds:  (1) the text has been parsed before, which also bounds its nesting: the syntax is trusted.
 *          (2) A line number is that of the key's own first mention, or of the table's header. */

import { parseToml } from './toml.ts'

/** The deepest key of the schema has four parts; what lies deeper is refused at a shallower key. */
const PATH_PARTS_MAX = 5

/** One key of a file as a map key: parts may hold dots of their own, when quoted. */
export function pathId(path: readonly string[]): string {
  return path.slice(0, PATH_PARTS_MAX).join('\0')
}

/** Lines count from 1. A key inside inline tables and dotted keys is found under its full path. */
export function keyLines(text: string): ReadonlyMap<string, number> {
  const scanner = new Scanner(text)
  scanner.document()
  return scanner.lines
}

class Scanner {
  readonly lines = new Map<string, number>()
  private readonly text: string
  private at = 0
  private line = 1

  constructor(text: string) {
    this.text = text
  }

  document(): void {
    let table: string[] = []
    if (this.text.startsWith('\uFEFF')) this.at = 1
    for (this.skipVoid(); this.at < this.text.length; this.skipVoid()) {
      const from = this.at
      if (this.peek() === '[') {
        while (this.peek() === '[') this.step()
        table = this.key([])
        while (this.peek() === ']') this.step()
      } else this.pair(table)
      // Only a text that is no TOML leaves the scanner standing; it moves on.
      if (this.at === from) this.step()
    }
  }

  /** `key = value` below `table`. */
  private pair(table: readonly string[]): void {
    const path = this.key(table)
    if (this.peek() !== '=') return
    this.step()
    this.skipBlanks()
    this.value(path)
  }

  /** A dotted key up to its `=` or `]`; notes the line of each of its prefixes. */
  private key(table: readonly string[]): string[] {
    const path = [...table]
    const { line } = this
    for (;;) {
      this.skipBlanks()
      const part = this.peek() === '"' || this.peek() === "'" ? this.quotedPart() : this.barePart()
      if (part === undefined) return path
      path.push(part)
      const id = pathId(path)
      if (!this.lines.has(id)) this.lines.set(id, line)
      this.skipBlanks()
      if (this.peek() !== '.') return path
      this.step()
    }
  }

  private barePart(): string | undefined {
    const from = this.at
    while (/[A-Za-z0-9_-]/.test(this.peek())) this.at++
    return this.at > from ? this.text.slice(from, this.at) : undefined
  }

  /** The parser itself undoes the escapes, so that both sides see the same key. */
  private quotedPart(): string | undefined {
    const from = this.at
    this.string()
    const raw = this.text.slice(from, this.at)
    if (!raw.includes('\\')) return raw.slice(1, -1)
    const parsed = parseToml(`part = ${raw}`)
    return 'table' in parsed ? String(parsed.table['part']) : undefined
  }

  private value(path: readonly string[]): void {
    const first = this.peek()
    if (first === '"' || first === "'") this.string()
    else if (first === '{') this.enclosed('}', () => this.pair(path))
    // A key inside an array has no place in the schema: it is stepped over under a path nobody asks
    // for.
    else if (first === '[') this.enclosed(']', () => this.value([...path, '[]']))
    else while (this.at < this.text.length && !/[,\]}#\n]/.test(this.peek())) this.at++
  }

  private enclosed(end: string, item: () => void): void {
    this.step()
    for (this.skipVoid(); this.at < this.text.length && this.peek() !== end; this.skipVoid()) {
      const from = this.at
      if (this.peek() === ',') this.step()
      else item()
      if (this.at === from) this.step()
    }
    this.step()
  }

  /** Past a string of any of the four kinds; a multi-line one may end in up to five quotes. */
  private string(): void {
    const quote = this.peek()
    const mark = this.text.startsWith(quote.repeat(3), this.at) ? quote.repeat(3) : quote
    this.at += mark.length
    while (this.at < this.text.length && !this.text.startsWith(mark, this.at)) {
      if (quote === '"' && this.peek() === '\\') this.step()
      this.step()
    }
    this.at += mark.length
    while (mark.length === 3 && this.peek() === quote) this.at++
  }

  private skipVoid(): void {
    while (this.at < this.text.length) {
      if (this.peek() === '#') while (this.at < this.text.length && this.peek() !== '\n') this.at++
      else if (/\s/.test(this.peek())) this.step()
      else return
    }
  }

  private skipBlanks(): void {
    while (this.peek() === ' ' || this.peek() === '\t') this.at++
  }

  private peek(): string {
    return this.text.charAt(this.at)
  }

  private step(): void {
    if (this.peek() === '\n') this.line++
    this.at++
  }
}
