/** Input: a command line, checked against its command's row and split into operands and options.
 *  Owns:   the parsing.   Not here: the rows (commands.ts), what is said about mistakes elsewhere (help.ts).
 *  Thread: main.
 *  Holds:  what a command is given has the number of operands its row says, and only options its row names. */

import { parseArgs } from 'node:util'
import { durationMs } from '../config/units.ts'
import type { CommandSpec, Input, Run } from './command_spec.ts'
import { closest, UsageError } from './usage_error.ts'

export type { Input, Run }

/** Throws UsageError. */
export function readInput(name: string, spec: CommandSpec, args: readonly string[]): Input {
  const { values, positionals } = parse(name, spec, args)
  const operands = positionals.map(unguarded)
  checkOperands(name, spec, operands)
  const options: Record<string, string | undefined> = {}
  const lists: Record<string, readonly string[]> = {}
  const switches = new Set<string>()
  for (const [option, value] of Object.entries(values)) {
    if (Array.isArray(value)) lists[option] = value.map(each => unguarded(String(each)))
    else if (typeof value === 'string') options[option] = unguarded(value)
    else switches.add(option)
  }
  return { operands, options, lists, switches, isJson: switches.has('json') }
}

/** The milliseconds of an option such as `--ttl 30s`; a bare number counts `bareUnitMs` each, where that is given. */
export function durationOption(
  input: Input,
  option: string,
  bareUnitMs?: number,
): number | undefined {
  const text = input.options[option]
  if (text === undefined) return undefined
  const isBare = bareUnitMs !== undefined && /^\d{1,9}(\.\d{1,3})?$/.test(text)
  const ms = isBare ? Number(text) * bareUnitMs : durationMs(text)
  if (ms !== undefined) return ms
  throw new UsageError(
    `--${option}: found ${JSON.stringify(text)}, expected a time such as 250ms, 30s, 5m or 1h`,
  )
}

function parse(name: string, spec: CommandSpec, args: readonly string[]) {
  const options = Object.fromEntries(
    Object.entries(spec.options).map(([option, { value, repeats }]) => [
      option,
      {
        type: value === undefined ? ('boolean' as const) : ('string' as const),
        multiple: repeats === true,
      },
    ]),
  )
  try {
    return parseArgs({ args: guarded(args), options, allowPositionals: true })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') {
      const found = /'(--?[^' ]*)'/.exec(message)?.[1] ?? 'that'
      const known = closest(found.replace(/^-+/, ''), Object.keys(spec.options))
      const hint = known === undefined ? '' : `; did you mean --${known}?`
      throw new UsageError(`${name} has no option ${found}${hint}`, name)
    }
    throw new UsageError(message.split('\n')[0]!.replace(/\.$/, ''), name)
  }
}

function checkOperands(name: string, spec: CommandSpec, operands: readonly string[]): void {
  const required = spec.operands.filter(operand => !operand.startsWith('['))
  if (operands.length < required.length) {
    const missing = required[operands.length]!.replace('…', '')
    throw new UsageError(`${name} needs ${missing}`, name)
  }
  const isOpen = spec.operands.at(-1)?.includes('…') ?? false
  if (!isOpen && operands.length > spec.operands.length) {
    const found = JSON.stringify(operands[spec.operands.length])
    throw new UsageError(`${name} does not take ${found}`, name)
  }
}

/** parseArgs would read `-5` as an option: negative numbers are marked before it and unmarked after. */
const GUARD = '\u0001'

function guarded(args: readonly string[]): string[] {
  return args.map(arg => (/^-[\d.]/.test(arg) ? GUARD + arg : arg))
}

function unguarded(arg: string): string {
  return arg.startsWith(GUARD) ? arg.slice(1) : arg
}
