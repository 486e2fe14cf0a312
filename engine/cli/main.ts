/** main: the `hearth` command: finds the command in the table, checks the line, runs it, reports what went wrong.
 *  Owns:   dispatch and exit codes: 0 done, 1 failed, 2 bad usage.   Not here: `serve`, which hearth.cjs starts.
 *  Thread: main.
 *  Holds:  (1) results go to stdout, complaints to stderr.  (2) a reader that leaves early (`| head -1`) is no failure. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { HearthError } from '../errors.ts'
import { PACKAGE_ROOT } from '../paths.ts'
import { COMMANDS } from './commands.ts'
import { helpOf, overview, usageOf } from './help.ts'
import { readInput } from './input.ts'
import { complain, leaveWithReader, print, printJson } from './output.ts'
import { reportError } from './report.ts'
import { closest, UsageError } from './usage_error.ts'

leaveWithReader()
process.exitCode = await main(process.argv.slice(2))

async function main(args: readonly string[]): Promise<number> {
  // Read before anything else: a line that cannot be understood is still answered in the form it asks for.
  const end = args.indexOf('--')
  const isJson = (end < 0 ? args : args.slice(0, end)).includes('--json')
  try {
    return await dispatch(args, isJson)
  } catch (error) {
    reportError(error, isJson)
    if (!(error instanceof UsageError)) return 1
    if (!isJson && error.command !== undefined) {
      complain(`usage: ${usageOf(error.command)}\nhearth ${error.command} --help says more`)
    }
    return 2
  }
}

async function dispatch(args: readonly string[], isJson: boolean): Promise<number> {
  const [first, ...rest] = args
  if (first === undefined) {
    complain(overview().trimEnd())
    return 2
  }
  if (first === '--version' || first === '-v') return version(isJson)
  if (first === '--help' || first === '-h') return help(rest[0], isJson)
  if (first === 'help') return help(rest[0], isJson)
  const name = commandName(first)
  const own = rest.includes('--') ? rest.slice(0, rest.indexOf('--')) : rest
  if (own.includes('--help') || own.includes('-h')) return help(name, isJson)

  const spec = COMMANDS[name]!
  const input = readInput(name, spec, rest)
  if (spec.load === undefined) {
    throw new HearthError(
      'BAD_REQUEST',
      `${name} is started by the launcher, engine/cli/hearth.cjs`,
    )
  }
  const { run } = await spec.load()
  return run(input)
}

function commandName(found: string): string {
  if (Object.hasOwn(COMMANDS, found)) return found
  if (found.startsWith('-')) {
    throw new UsageError(`found ${found} before the command; options come after it`)
  }
  const known = closest(found, Object.keys(COMMANDS))
  const hint = known === undefined ? 'hearth --help lists them' : `did you mean '${known}'?`
  throw new UsageError(`there is no command '${found}'; ${hint}`)
}

function help(found: string | undefined, isJson: boolean): number {
  const name = found === undefined || found.startsWith('-') ? undefined : commandName(found)
  const text = name === undefined ? overview() : helpOf(name)
  if (isJson) printJson({ help: text })
  else print(text.trimEnd())
  return 0
}

function version(isJson: boolean): number {
  const { version } = JSON.parse(readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8'))
  if (isJson) printJson({ version, node: process.version })
  else print(`hearth ${version}`)
  return 0
}
