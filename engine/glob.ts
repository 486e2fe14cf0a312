/** glob: patterns over keys, as Redis's KEYS reads them, by character instead of by byte.
 *  Owns:   nothing; a Glob is immutable.   Thread: any.
 *  Holds:  matching takes at most pattern length × key length steps, whatever the pattern: only the last star is tried anew.
 *
 *  `*` any run, also none · `?` one character · `[abc]` `[a-z]` one of these · `[^a]` one that is none of these ·
 *  `\x` x itself, in a class too. A class that is not closed ends with the pattern, `[]` matches nothing, and a range that
 *  runs backwards is turned round: what Redis does (redis/redis:src/util.c, stringmatchlen). SQLite's GLOB has no escapes
 *  and stops at a NUL, so matching is done here. */

const STAR = -1
const ANY = -2

interface CharacterClass {
  readonly negated: boolean
  /** Pairs of code points, first and last. */
  readonly ranges: readonly number[]
}
/** STAR, ANY, a code point, or a class. */
type Token = number | CharacterClass

export class Glob {
  /** Every key that matches begins with this; empty when anything may come first. */
  readonly prefix: string
  private readonly tokens: readonly Token[]

  constructor(pattern: string) {
    this.tokens = tokensOf(pattern)
    const end = this.tokens.findIndex(token => typeof token !== 'number' || token < 0)
    const literal = this.tokens.slice(0, end < 0 ? undefined : end) as number[]
    this.prefix = literal.map(point => String.fromCodePoint(point)).join('')
  }

  matches(key: string): boolean {
    const { tokens } = this
    let at = 0
    let token = 0
    let starToken = -1
    let starAt = 0
    while (at < key.length) {
      const point = key.codePointAt(at)!
      const wanted = tokens[token]
      if (wanted === STAR) {
        starToken = token++
        starAt = at
      } else if (wanted !== undefined && accepts(wanted, point)) {
        token++
        at += unitsOf(point)
      } else if (starToken >= 0) {
        starAt += unitsOf(key.codePointAt(starAt)!)
        at = starAt
        token = starToken + 1
      } else return false
    }
    while (tokens[token] === STAR) token++
    return token === tokens.length
  }
}

/** A glob that matches this text and nothing else. */
export function literalGlob(text: string): string {
  return text.replace(/[*?[\]^\\]/g, '\\$&')
}

function accepts(wanted: Token, point: number): boolean {
  if (typeof wanted === 'number') return wanted === ANY || wanted === point
  for (let i = 0; i < wanted.ranges.length; i += 2) {
    if (point >= wanted.ranges[i]! && point <= wanted.ranges[i + 1]!) return !wanted.negated
  }
  return wanted.negated
}

function unitsOf(point: number): number {
  return point > 0xffff ? 2 : 1
}

function tokensOf(pattern: string): Token[] {
  const points = Array.from(pattern, character => character.codePointAt(0)!)
  const tokens: Token[] = []
  let at = 0
  while (at < points.length) {
    const point = points[at++]!
    if (point === CODE.star) {
      if (tokens.at(-1) !== STAR) tokens.push(STAR)
    } else if (point === CODE.question) tokens.push(ANY)
    else if (point === CODE.backslash) tokens.push(points[at++] ?? CODE.backslash)
    else if (point === CODE.open) {
      const found = classFrom(points, at)
      tokens.push(found.token)
      at = found.end
    } else tokens.push(point)
  }
  return tokens
}

function classFrom(points: number[], start: number): { token: CharacterClass; end: number } {
  const negated = points[start] === CODE.caret
  const ranges: number[] = []
  let at = negated ? start + 1 : start
  while (at < points.length && points[at] !== CODE.close) {
    if (points[at] === CODE.backslash && at + 1 < points.length) {
      at++
      ranges.push(points[at]!, points[at]!)
      at++
    } else if (points[at + 1] === CODE.dash && at + 2 < points.length) {
      const first = points[at]!
      const last = points[at + 2]!
      ranges.push(Math.min(first, last), Math.max(first, last))
      at += 3
    } else {
      ranges.push(points[at]!, points[at]!)
      at++
    }
  }
  return { token: { negated, ranges }, end: at + 1 }
}

const CODE = {
  star: 0x2a,
  dash: 0x2d,
  question: 0x3f,
  open: 0x5b,
  backslash: 0x5c,
  close: 0x5d,
  caret: 0x5e,
} as const
