/** Explain: the configuration in force for people and programs, each value with where it came from.
 *  Owns:   the rows of `hearth config`.   Thread: any; used by the CLI.
 *  Holds:  no row holds a password: every value passes its type's mask. */

import { entriesOf } from './config.ts'
import type { Origin } from './draft.ts'
import { environmentAliases, environmentName } from './keys.ts'
import type { LoadedConfig } from './load.ts'
import { showValue } from './value_types.ts'

export interface ExplainedRow {
  readonly key: string
  /** As written in the file, without quotes; empty where nothing is set. */
  readonly value: string
  readonly origin: Origin
  readonly environment: string
  readonly reloadable: boolean
  readonly doc: string
}

/** One row a key, in the schema's order. */
export function explainConfig({ config, origins }: LoadedConfig): ExplainedRow[] {
  const aliases = new Map([...environmentAliases()].map(([alias, key]) => [key, alias]))
  return entriesOf(config).map(({ key, row, value }) => ({
    key,
    value: showValue(value, row),
    origin: origins[key] ?? { from: 'default', where: 'not set' },
    environment: aliases.get(key) ?? environmentName(key),
    reloadable: row.reloadable,
    doc: row.doc,
  }))
}

/** For `hearth config`: three aligned columns, a `*` at what a SIGHUP can change. */
export function explainText(loaded: LoadedConfig): string {
  const rows = explainConfig(loaded)
  const keyChars = Math.max(...rows.map(({ key }) => key.length))
  const valueChars = Math.min(48, Math.max(...rows.map(({ value }) => value.length)))
  const lines = rows.map(({ key, value, origin, reloadable }) => {
    const mark = reloadable ? '*' : ' '
    return `${key.padEnd(keyChars)} ${mark} ${(value || '-').padEnd(valueChars)}  ${origin.where}`
  })
  const file = loaded.file ?? 'none found; defaults and environment only'
  const warnings = loaded.warnings.map(warning => `warning: ${warning}`)
  const access = Object.keys(loaded.config.access).length === 0 ? [ACCESS_DEFAULT] : []
  return [
    `file: ${file}`,
    ...warnings,
    '',
    ...lines,
    '',
    ...access,
    '* changes on SIGHUP',
    '',
  ].join('\n')
}

const ACCESS_DEFAULT =
  'access: root and the user of the engine are admin, members of the group of the socket are service'

/** For `hearth config --json`. */
export function explainJson(loaded: LoadedConfig): {
  file: string | null
  warnings: readonly string[]
  values: ExplainedRow[]
} {
  return { file: loaded.file ?? null, warnings: loaded.warnings, values: explainConfig(loaded) }
}
