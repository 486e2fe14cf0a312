/** migrate: schema migrations: new, up, down, status, verify.
 *  Owns:   which of them a line means, exit codes.   Not here: the steps (../../migrate/), words (../migrate_words.ts), the engine that
 *          is told (../migrate_refresh.ts).   Thread: main.
 *  Holds:  (1) exit code 1 of `verify` for drift or a problem, of `status` for a problem; pending ones are none.  (2) Ctrl-C cancels
 *          what runs at the server, and is a failure. */

import type { Done, Task } from '../../migrate/apply.ts'
import { DirectConnection } from '../../migrate/direct_connection.ts'
import { createFile } from '../../migrate/files.ts'
import { applicationName } from '../../migrate/history.ts'
import type { Finding } from '../../migrate/lint.ts'
import { down, type Events, examineFiles, rehearse, up } from '../../migrate/runner.ts'
import { overviewOf, verify } from '../../migrate/verify.ts'
import type { Input } from '../input.ts'
import { type Refreshed, refreshEngine, refreshedText } from '../migrate_refresh.ts'
import { type Target, targetOf, urlOf } from '../migrate_target.ts'
import {
  changeText,
  doneText,
  findingText,
  generatedText,
  statusLines,
  taskText,
  verdictLines,
} from '../migrate_words.ts'
import { complain, print, printJson, styled } from '../output.ts'
import { duration } from '../table.ts'
import { closest, UsageError } from '../usage_error.ts'

const ACTIONS: Record<string, (input: Input, rest: readonly string[]) => Promise<number>> = {
  new: runNew,
  up: runUp,
  down: runDown,
  status: runStatus,
  verify: runVerify,
}

export async function run(input: Input): Promise<number> {
  const [word, ...rest] = input.operands as [string, ...string[]]
  const action = Object.hasOwn(ACTIONS, word) ? ACTIONS[word] : undefined
  if (action !== undefined) return await action(input, rest)
  const near = closest(word, Object.keys(ACTIONS))
  const hint = near === undefined ? 'new, up, down, status or verify' : `'${near}'?`
  throw new UsageError(`migrate does not know '${word}'; did you mean ${hint}`, 'migrate')
}

async function runNew(input: Input, words: readonly string[]): Promise<number> {
  if (words.length === 0) throw new UsageError('migrate new needs NAME', 'migrate')
  const { settings } = targetOf(input)
  const path = createFile(settings.folder, words.join(' '), input.switches.has('timestamp'))
  if (input.isJson) printJson({ path })
  else
    print(
      `${path}\nwrite the change there; hearth migrate up --dry-run shows what it would do, and the way back`,
    )
  return 0
}

async function runUp(input: Input, rest: readonly string[]): Promise<number> {
  const target = targetOf(input)
  const options = {
    count: countOf(rest, 'up'),
    allowOutOfOrder: input.switches.has('allow-out-of-order'),
    resume: input.switches.has('resume'),
  }
  if (input.switches.has('dry-run')) return await runRehearsal(input, target, options)
  const log = new Log(input.isJson, false)
  return await finish(input, target, log, connection =>
    up(connection, target.settings, options, log),
  )
}

async function runDown(input: Input, rest: readonly string[]): Promise<number> {
  const target = targetOf(input)
  const options = { count: countOf(rest, 'down') ?? 1, resume: input.switches.has('resume') }
  if (input.switches.has('dry-run'))
    throw new UsageError('--dry-run is of migrate up; read the down files', 'migrate')
  const log = new Log(input.isJson, false)
  return await finish(input, target, log, connection =>
    down(connection, target.settings, options, log),
  )
}

/** What was done is told to the engine and printed, even when the next one failed. */
async function finish(
  input: Input,
  target: Target,
  log: Log,
  act: (connection: DirectConnection) => Promise<number>,
): Promise<number> {
  let refreshed: Refreshed | undefined
  const report = async () => {
    if (log.hasBegun) refreshed = await refreshEngine(input, target.names)
    const done = log.all.map(plainDone)
    const { findings } = log
    if (input.isJson) printJson({ database: target.name, done, findings, refreshed })
  }
  try {
    await withDatabase(target, act)
  } catch (error) {
    if (log.hasBegun || log.findings.length > 0) await report()
    throw error
  }
  await report()
  if (input.isJson) return 0
  if (refreshed === undefined) print('nothing to do')
  else print(refreshedText(refreshed))
  return 0
}

async function runRehearsal(
  input: Input,
  target: Target,
  options: { count: number | undefined; allowOutOfOrder: boolean },
): Promise<number> {
  const log = new Log(input.isJson, true)
  if (target.url === undefined) {
    const migrations = await examineFiles(target.settings, log)
    const files = migrations.map(({ stem }) => stem)
    if (input.isJson) printJson({ database: null, files, findings: log.findings })
    else
      print(
        `${files.length} read; no database is configured, so nothing was tried, nor is known to be applied`,
      )
    return 0
  }
  const { notTried } = await withDatabase(target, connection =>
    rehearse(connection, target.settings, options, log),
  )
  const left = notTried.map(({ stem, up: script }) => ({
    migration: stem,
    isTransaction: script.header.isTransaction,
    statements: script.statements.map(({ sql }) => sql),
  }))
  if (input.isJson) {
    const tried = log.all.map(plainDone)
    printJson({ database: target.name, tried, notTried: left, findings: log.findings })
    return 0
  }
  for (const { migration, isTransaction, statements } of left) {
    const why = isTransaction
      ? 'what comes before it must be committed first'
      : 'it has no transaction'
    print(`${styled('bold', migration)}: not tried, ${why}\n${statements.join(';\n')};`)
  }
  print(
    log.all.length + left.length === 0
      ? 'nothing to do'
      : `nothing stands: ${log.all.length} tried in a transaction that was rolled back`,
  )
  return 0
}

async function runStatus(input: Input, rest: readonly string[]): Promise<number> {
  refuseOperands(rest, 'status')
  const target = targetOf(input)
  const overview = await withDatabase(target, connection =>
    overviewOf(connection, target.settings.folder),
  )
  const { applied, pending, problems, runs, holder } = overview
  if (input.isJson) {
    const waiting = pending.map(({ version, name }) => ({ version, name }))
    printJson({ database: target.name, applied, pending: waiting, problems, runs, holder })
  } else print(statusLines(overview).join('\n'))
  return problems.length === 0 ? 0 : 1
}

async function runVerify(input: Input, rest: readonly string[]): Promise<number> {
  refuseOperands(rest, 'verify')
  const target = targetOf(input)
  const verdict = await withDatabase(target, connection =>
    verify(connection, target.settings.folder),
  )
  const { problems, drift, pending } = verdict
  if (input.isJson) {
    const waiting = pending.map(({ version, name }) => ({ version, name }))
    printJson({ database: target.name, problems, drift: drift ?? [], pending: waiting })
  } else print(verdictLines(verdict).join('\n'))
  return problems.length + (drift?.length ?? 0) === 0 ? 0 : 1
}

/** Opens a connection, and closes it whatever happens; a signal cancels what runs. */
async function withDatabase<Value>(
  target: Target,
  use: (connection: DirectConnection) => Promise<Value>,
): Promise<Value> {
  const connection = await DirectConnection.open(urlOf(target), applicationName())
  const cancel = () => connection.cancel()
  process.on('SIGINT', cancel).on('SIGTERM', cancel)
  try {
    return await use(connection)
  } finally {
    process.off('SIGINT', cancel).off('SIGTERM', cancel)
    connection.close()
  }
}

/** Tells people as it goes on; keeps all for JSON. */
class Log implements Events {
  readonly all: { readonly task: Task; readonly done: Done }[] = []
  findings: readonly Finding[] = []
  hasBegun = false
  private readonly isJson: boolean
  private readonly isRehearsal: boolean

  constructor(isJson: boolean, isRehearsal: boolean) {
    this.isJson = isJson
    this.isRehearsal = isRehearsal
  }

  waiting(holder: string): void {
    if (!this.isJson) complain(`another migration is under way, waiting for it: ${holder}`)
  }

  found(findings: readonly Finding[]): void {
    this.findings = findings
    if (this.isJson) return
    // Harmless ones are for those who rehearse.
    const shown = findings.filter(({ level }) => this.isRehearsal || level !== 'harmless')
    for (const finding of shown) complain(findingText(finding))
  }

  begun(task: Task): void {
    this.hasBegun = true
    if (!this.isJson) print(styled('bold', taskText(task)))
  }

  again(_task: Task, pauseMs: number): void {
    if (this.isJson) return
    complain(
      `  a lock was not to be had in time; rolled back, and tried again in ${duration(pauseMs)}`,
    )
  }

  done(task: Task, done: Done): void {
    this.all.push({ task, done })
    if (this.isJson) return
    if (!this.isRehearsal)
      return print([`  ${doneText(done)}`, ...generatedText(task, done)].join('\n'))
    print(done.changes.map(change => `  ${changeText(change)}`).join('\n'))
    if (done.generated !== undefined)
      print(styled('dim', `  the way back would be:\n${indented(done.generated.text)}`))
  }
}

function indented(text: string): string {
  return text.trimEnd().replaceAll(/^/gm, '    ')
}

function plainDone({ task, done }: { task: Task; done: Done }) {
  const { version, name, direction, downPath } = task
  const { tookMs, changes, generated, notWritten } = done
  const wayBack = generated && {
    path: downPath,
    isComplete: generated.refusals.length === 0,
    refusals: generated.refusals,
    statements: generated.statements,
    notWritten,
  }
  return { version, name, direction, tookMs: Math.round(tookMs), changes, wayBack }
}

function countOf(rest: readonly string[], what: string): number | undefined {
  const [text, ...more] = rest
  if (text === undefined) return undefined
  if (more.length === 0 && /^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw new UsageError(
    `migrate ${what}: found ${JSON.stringify(rest.join(' '))}, expected how many`,
    'migrate',
  )
}

function refuseOperands(rest: readonly string[], what: string): void {
  if (rest.length > 0)
    throw new UsageError(`migrate ${what} does not take ${JSON.stringify(rest[0])}`, 'migrate')
}
