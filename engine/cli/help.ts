/** Help: the table of commands as people read it.
 *  Owns:   the layout of `hearth --help` and `hearth COMMAND --help`.   Thread: main.
 *  Holds:  every word of a command is its row's; nothing here knows one command from another. */

import type { CommandSpec } from './command_spec.ts'
import { COMMANDS } from './commands.ts'

/** `hearth set KEY VALUE [--ttl TIME] …` */
export function usageOf(name: string): string {
  const spec = COMMANDS[name]!
  return ['hearth', name, ...spec.operands, '[OPTIONS]'].join(' ')
}

export function overview(): string {
  const rows = Object.entries(COMMANDS).map(
    ([name, spec]) => [[name, ...spec.operands].join(' '), spec.summary] as const,
  )
  return `Hearth: a shared-memory cache, SQLite and Postgres pools behind one Unix socket.

usage: hearth COMMAND [ARGUMENT…] [OPTION…]

${columns(rows)}

hearth COMMAND --help   what a command takes
hearth --version

Exit codes: 0 done, 1 failed, 2 bad usage. Every command takes --json.
`
}

export function helpOf(name: string): string {
  const spec = COMMANDS[name]!
  const details = spec.details === undefined ? '' : `\n${spec.details}\n`
  return `usage: ${usageOf(name)}\n\n${sentence(spec.summary)}\n${details}\n${optionLines(spec)}\n`
}

function optionLines(spec: CommandSpec): string {
  const rows = Object.keys(spec.options).map(option => {
    const { value, doc } = spec.options[option]!
    return [value === undefined ? `--${option}` : `--${option} ${value}`, doc] as const
  })
  return columns(rows)
}

function columns(rows: readonly (readonly [string, string])[]): string {
  const chars = Math.max(...rows.map(([left]) => left.length))
  return rows.map(([left, right]) => `  ${left.padEnd(chars)}   ${right}`).join('\n')
}

function sentence(summary: string): string {
  return summary[0]!.toUpperCase() + summary.slice(1) + '.'
}
