/** Draft: a configuration while its sources are read: the values so far, and every problem met on
 *  the way.
 *  Owns:   which source wins (the one that sets last), and the wording of problems.
 *  Thread: main, at start and reload; dropped after the load.
 *  Holds:  (1) a value in the draft has its row's type and bounds.  (2) No problem quotes a secret.
 *          (3) Problems are collected, so that one start tells all of them. */

import { HearthError } from '../errors.ts'
import {
  codePath,
  endsInName,
  hasBadName,
  isSection,
  keysLike,
  NAME_EXPECTED,
  type Path,
  patternAt,
  sectionsLike,
} from './keys.ts'
import { nearest } from './nearest.ts'
import type { Row } from './schema.ts'
import { quoted, quotedKey } from './secrets.ts'
import { expectedOf, type ReadContext, Refused, readValue, type Value } from './value_types.ts'

/** Where a value came from: `where` is `default`, `/etc/hearth/hearth.toml:12`, `$HEARTH_SOCKET` or
 *  `option`. */
export interface Origin {
  readonly from: 'default' | ReadContext['source']
  readonly where: string
}

export const DEFAULT_ORIGIN: Origin = { from: 'default', where: 'default' }

export interface Setting {
  readonly row: Row
  readonly value: Value
  readonly origin: Origin
}

const PROBLEM_COUNT_MAX = 50

export class Draft {
  readonly settings = new Map<string, Setting>()
  readonly warnings: string[] = []
  /** First mention of each key and section, valid or not: `postgres.main` is named by any key in
   *  it. */
  readonly mentioned = new Map<string, Origin>()
  private readonly problems: string[] = []

  /** Takes a raw value for the key at `path`, or notes what is wrong with it. */
  set(path: Path, raw: unknown, origin: Origin, context: ReadContext): void {
    const pattern = patternAt(path)
    if (pattern === undefined) {
      this.unknown(path, raw, origin, context)
      return
    }
    this.mention(path, origin)
    const key = path.join('.')
    const value = readValue(raw, pattern.row, context)
    if (value instanceof Refused) {
      const found = pattern.row.secret ? 'a value that is not shown' : quoted(raw)
      const expected = value.expected ?? expectedOf(pattern.row)
      this.problem(origin, `${spelled(path, context)}: found ${found}, expected ${expected}`)
    } else this.settings.set(key, { row: pattern.row, value, origin })
  }

  /** Takes each member of a nested table; `locate` gives a member's path and origin. */
  setAll(
    table: object,
    parent: Path,
    locate: (parent: Path, name: string) => { path: Path; origin: Origin },
    context: ReadContext,
  ): void {
    for (const [name, raw] of Object.entries(table)) {
      if (raw === undefined) continue
      const { path, origin } = locate(parent, name)
      if (isTable(raw) && isSection(path)) {
        this.mention(path, origin)
        this.setAll(raw, path, locate, context)
      } else this.set(path, raw, origin, context)
    }
  }

  origin(key: string): Origin {
    return this.settings.get(key)?.origin ?? DEFAULT_ORIGIN
  }

  /** The names that stand for the `*` of a key, in its section: of databases, or of services. A key without one has the name ''. */
  namesIn(key: string): string[] {
    if (!key.includes('*')) return ['']
    const section = key.slice(0, key.indexOf('.'))
    const paths = [...this.mentioned.keys()].map(each => each.split('.'))
    return paths.filter(path => path.length === 2 && path[0] === section).map(path => path[1]!)
  }

  problem(origin: Origin, text: string): void {
    this.problems.push(origin.from === 'default' ? text : `${origin.where}: ${text}`)
  }

  /** Throws BAD_REQUEST with every problem, one a line. */
  throwProblems(): void {
    const count = this.problems.length
    if (count === 0) return
    if (count === 1) throw new HearthError('BAD_REQUEST', this.problems[0])
    const shown = this.problems.slice(0, PROBLEM_COUNT_MAX)
    if (count > shown.length) shown.push(`… and ${count - shown.length} more`)
    const list = shown.map(problem => `  ${problem}`).join('\n')
    throw new HearthError('BAD_REQUEST', `${count} problems in the configuration:\n${list}`)
  }

  private mention(path: Path, origin: Origin): void {
    for (let depth = 1; depth <= path.length; depth++) {
      const key = path.slice(0, depth).join('.')
      if (!this.mentioned.has(key)) this.mentioned.set(key, origin)
    }
  }

  private unknown(path: Path, raw: unknown, origin: Origin, context: ReadContext): void {
    const key = quotedKey(spelled(path, context))
    if (isSection(path) && !endsInName(path)) {
      this.problem(origin, `${key}: found ${quoted(raw)}, expected a table, [${path.join('.')}]`)
    } else if (hasBadName(path)) {
      this.problem(origin, `${key}: the name in it is not valid, expected ${NAME_EXPECTED}`)
    } else if (isTable(raw)) {
      const section = nearest(path.join('.'), sectionsLike(path))
      this.problem(origin, `[${key}]: unknown section, the nearest valid one is [${section}]`)
    } else {
      const valid = nearest(path.join('.'), keysLike(path))!
      const spelling = spelled(valid.split('.'), context)
      this.problem(origin, `${key}: unknown key, the nearest valid one is ${spelling}`)
    }
  }
}

/** The key as its source writes it: code has other names than the file. */
function spelled(path: Path, context: ReadContext): string {
  return (context.source === 'override' ? codePath(path) : path).join('.')
}

function isTable(raw: unknown): raw is object {
  return raw !== null && typeof raw === 'object' && !Array.isArray(raw) && !(raw instanceof Date)
}
