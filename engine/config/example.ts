/** Example: a hearth.toml with every key, its default and its meaning, all commented out.
 *  Owns:   the layout of that file.   Thread: any; used by the CLI and the README.
 *  Holds:  (1) loaded as it is, it changes nothing.  (2) With each `#key` uncommented it says the
 *          defaults, plus the examples of keys that have none. */

import { ALERT_NAMES } from '../alert_names.ts'
import { PATTERNS } from './keys.ts'
import { MAIN_DATABASE, type Row } from './schema.ts'
import { expectedOf, tomlValue } from './value_types.ts'

/** What stands for the `*` of a section. A role of one's own, since the four built-in ones are like nothing else. */
const EXAMPLE_NAMES: Readonly<Record<string, string>> = {
  access: 'weather',
  alerts: ALERT_NAMES[0],
  services: 'data-api',
}

/** `# text` explains, `#key = value` is a setting to uncomment: the difference is the space. */
export function exampleToml(): string {
  const lines = [
    '# Configuration of Hearth. Every setting shows its default; remove the # before one to change it.',
    '# Durations are written 250ms 30s 5m 1h 7d, sizes 64KiB 4MiB (any suffix counts in 1024s).',
    '# Any value can also be set by environment: HEARTH_MEMORY_MAX_BYTES=8MiB.',
  ]
  let section = ''
  for (const { key, row } of PATTERNS) {
    const name = EXAMPLE_NAMES[key.split('.')[0]!] ?? MAIN_DATABASE
    const path = key.replace('*.', `${name}.`).split('.')
    const table = path.slice(0, -1).join('.')
    // A table of a database stays commented out: an empty one would still be a database without a
    // url.
    if (table !== section) lines.push('', `${key.includes('*.') ? '#' : ''}[${table}]`)
    section = table
    lines.push(`# ${row.doc}`, `# ${detailOf(row)}`, ...settingsOf(path.at(-1)!, row))
  }
  return lines.join('\n') + '\n'
}

function detailOf(row: Row): string {
  return `  ${expectedOf(row)}${row.reloadable ? '; changes on SIGHUP' : ''}`
}

function settingsOf(name: string, row: Row): string[] {
  const values = row.named ?? { [name]: String(row.default ?? row.example ?? '') }
  return Object.entries(values).map(([key, value]) => `#${key} = ${tomlValue(value, row)}`)
}
