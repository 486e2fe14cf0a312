/** Config: the type of the whole configuration, derived from the schema, and its nested form.
 *  Owns:   the step between flat keys (`memory.max_bytes`) and nested names
 *          (`config.memory.maxBytes`).
 *  Thread: any; a Config is frozen plain data that may be posted to a worker.
 *  Holds:  numbers are milliseconds where the name ends in `Ms`, bytes where it ends in `Bytes`.
 *          The members of `config.ttl` are milliseconds under the policy's own name. */

import { codePath, PATTERNS, type Path } from './keys.ts'
import type { Row, Schema } from './schema.ts'
import type { ServerItem, Value } from './value_types.ts'

export type Config = Shape<Schema>

/** What createEngine takes: any part of a Config, in the same names and units. */
export type ConfigOverrides = PartialDeep<Config>

export type DatabaseConfig = Config['postgres'][string]
export type PoolConfig = DatabaseConfig['pool']

/** Rows by key → nested object. `*` as the last part gives a record of values, elsewhere a record
 *  of sections. */
type Shape<Rows> = '*' extends keyof Rows
  ? Named<Rows['*']>
  : [Extract<keyof Rows, `*.${string}`>] extends [never]
    ? Section<Rows>
    : { readonly [name: string]: Shape<Below<Rows, '*'>> }

type Section<Rows> = {
  readonly [Key in Extract<keyof Rows, string> as MemberName<
    Key,
    Rows[Key]
  >]: Key extends `${infer Head}.${string}` ? Shape<Below<Rows, Head>> : ValueOf<Rows[Key]>
}

type Below<Rows, Head extends string> = {
  [Key in keyof Rows as Key extends `${Head}.${infer Rest}` ? Rest : never]: Rows[Key]
}

type Named<RowType> = { readonly [name: string]: ValueOf<RowType> } & (RowType extends {
  named: infer Names
}
  ? { readonly [Name in keyof Names]: ValueOf<RowType> }
  : unknown)

type MemberName<Key extends string, RowType> = Key extends `${infer Head}.${string}`
  ? Camel<Head>
  : RowType extends { type: 'duration' }
    ? `${Camel<Key>}Ms`
    : Camel<Key>

type Camel<Text extends string> = Text extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<Camel<Tail>>}`
  : Text

type ValueOf<RowType> = RowType extends
  | { default: unknown }
  | { computed: unknown }
  | { named: unknown }
  ? Present<RowType>
  : RowType extends { required: true }
    ? Present<RowType>
    : Present<RowType> | undefined

type Present<RowType> = RowType extends { type: 'enum'; values: readonly (infer Word)[] }
  ? Word
  : RowType extends { type: 'boolean' }
    ? boolean
    : RowType extends { type: 'duration' | 'size' | 'integer' | 'fraction' | 'number' | 'mode' }
      ? number
      : RowType extends { type: 'list' }
        ? readonly string[]
        : RowType extends { type: 'servers' }
          ? readonly ServerItem[]
          : string

type PartialDeep<T> = T extends object ? { readonly [Key in keyof T]?: PartialDeep<T[Key]> } : T

export interface Entry {
  readonly key: string
  readonly row: Row
  readonly value: Value | undefined
}

/** The nested, frozen form. Sections of user's names have no prototype: `config.ttl.constructor` is
 *  undefined. */
export function nestConfig(values: ReadonlyMap<string, Value>): Config {
  const root: Tree = {}
  for (const { parts } of PATTERNS) sectionAt(root, parts.slice(0, fixedDepth(parts)), parts)
  for (const [key, value] of values) {
    const path = key.split('.')
    const names = codePath(path)
    sectionAt(root, names.slice(0, -1))[names.at(-1)!] = value
  }
  return freezeDeep(root) as Config
}

/** Every key with its value, in the schema's order; a key that is not set has the value
 *  undefined. */
export function entriesOf(config: Config): Entry[] {
  const entries: Entry[] = []
  for (const { parts, row } of PATTERNS) {
    for (const path of pathsOf(config, parts)) {
      const value = codePath(path).reduce<unknown>((node, name) => (node as Tree)[name], config)
      entries.push({ key: path.join('.'), row, value: value as Value | undefined })
    }
  }
  return entries
}

interface Tree {
  [name: string]: unknown
}

/** How many leading parts exist whatever is configured. */
function fixedDepth(parts: Path): number {
  const starAt = parts.indexOf('*')
  return starAt < 0 ? parts.length - 1 : starAt
}

function sectionAt(root: Tree, names: Path, pattern?: Path): Tree {
  let node = root
  names.forEach((name, index) => {
    if (node[name] === undefined) {
      const holdsNames = pattern?.[index + 1] === '*'
      node[name] = holdsNames ? Object.create(null) : {}
    }
    node = node[name] as Tree
  })
  return node
}

function pathsOf(config: Config, parts: Path): string[][] {
  const starAt = parts.indexOf('*')
  if (starAt < 0) return [[...parts]]
  const names = parts.slice(0, starAt).reduce<unknown>((node, name) => (node as Tree)[name], config)
  return Object.keys(names as Tree).map(name =>
    parts.map((part, at) => (at === starAt ? name : part)),
  )
}

function freezeDeep(node: unknown): unknown {
  if (node === null || typeof node !== 'object') return node
  for (const child of Object.values(node)) freezeDeep(child)
  return Object.freeze(node)
}
