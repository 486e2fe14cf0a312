/** runner: what is due, in order, under the lock: up, down, and the rehearsal of up.
 *  Owns:   the steps of a command.   Not here: one migration (apply.ts), words and exit codes (cli/commands/migrate.ts).
 *  Thread: main of a command.
 *  Holds:  (1) everything that can be refused is refused before anything runs.  (2) a failure leaves those before it applied, and
 *          stops.  (3) the lock is held from before the history is read until the end. */

import { setTimeout as sleep } from 'node:timers/promises'
import { HearthError, isHearthError } from '../errors.ts'
import { apply, type Done, runScript, type Task } from './apply.ts'
import { changesBetween } from './catalog.ts'
import { interruptedText, nameOf, standingOf } from './checks.ts'
import type { DirectConnection } from './direct_connection.ts'
import { refusalsIn } from './down_file.ts'
import { setTimeouts } from './execute.ts'
import { readFolder } from './files.ts'
import { type Applied, createHistory, hasHistory, readApplied } from './history.ts'
import { type Finding, factsOf, lint, NO_FACTS } from './lint.ts'
import type { Facts } from './lint_facts.ts'
import { releaseLock, takeLock } from './lock.ts'
import { type Migration, readMigration, readScript, type Script } from './project.ts'

export interface Settings {
  readonly folder: string
  readonly lockTimeoutMs: number
  readonly statementTimeoutMs: number
  /** How long another migration is waited for. */
  readonly waitMs: number
  /** After lock_timeout, in a transaction. */
  readonly lockRetries: number
  readonly lockRetryPauseMs: number
  readonly bigTableRows: number
  readonly lint: 'refuse' | 'warn' | 'off'
}

/** Told while it goes on. */
export interface Events {
  waiting(holder: string): void
  found(findings: readonly Finding[]): void
  begun(task: Task): void
  done(task: Task, done: Done): void
  again(task: Task, pauseMs: number): void
}

export interface UpOptions {
  /** So many at most. */
  readonly count?: number | undefined
  readonly allowOutOfOrder?: boolean
  /** Goes on with one that was interrupted. */
  readonly resume?: boolean
}

export interface Rehearsal {
  /** Those that ran, and were rolled back. */
  readonly ran: readonly { readonly task: Task; readonly done: Done }[]
  /** Not tried: the first of them cannot be, together with what comes before it, and so those behind it cannot. */
  readonly notTried: readonly Migration[]
}

export async function readMigrations(folder: string): Promise<Migration[]> {
  const migrations: Migration[] = []
  for (const file of readFolder(folder)) migrations.push(await readMigration(file))
  return migrations
}

/** Applies what is due; resolves with how many were. Rejects with what stands in the way, or has failed. */
export async function up(
  connection: DirectConnection,
  settings: Settings,
  options: UpOptions,
  events: Events,
): Promise<number> {
  const migrations = await readMigrations(settings.folder)
  return await underLock(connection, settings, events, async () => {
    if (!(await hasHistory(connection))) await createHistory(connection)
    const applied = await readApplied(connection)
    const interrupted = options.resume ? interruptedIn(applied, false) : undefined
    const due = duePart(migrations, applied, settings, options, interrupted)
    const tasks = due.map(migration => upTask(migration, settings))
    const resumed = interrupted && migrations.find(each => each.version === interrupted.version)
    if (interrupted !== undefined && resumed === undefined)
      throw new HearthError('BAD_REQUEST', `${nameOf(interrupted)} has no file to go on with`)
    if (resumed !== undefined)
      tasks.unshift({ ...upTask(resumed, settings), skip: interrupted!.statementsDone })
    await examine(due, settings, factsOf(connection), events)
    for (const task of tasks) await applyPatiently(connection, task, settings, events)
    return tasks.length
  })
}

/** Runs what is due in one transaction, and rolls it back. */
export async function rehearse(
  connection: DirectConnection,
  settings: Settings,
  options: UpOptions,
  events: Events,
): Promise<Rehearsal> {
  const migrations = await readMigrations(settings.folder)
  return await underLock(connection, settings, events, async () => {
    const applied = await readApplied(connection)
    const due = duePart(migrations, applied, settings, options, undefined)
    await examine(due, settings, factsOf(connection), events)
    const ran: { task: Task; done: Done }[] = []
    await connection.run('begin')
    try {
      for (const migration of due) {
        if (!migration.up.header.isTransaction) break
        const task = upTask(migration, settings)
        events.begun(task)
        await setTimeouts(connection, task.lockTimeoutMs, task.statementTimeoutMs, true)
        const ending = await runScript(connection, task).catch(error => {
          // A new value of an enum, added by one before it: usable once that one is committed.
          if (isHearthError(error) && error.sqlState === UNSAFE_NEW_VALUE) return undefined
          throw error
        })
        if (ending === undefined) break
        const { before, after, generated } = ending
        const done = { tookMs: 0, changes: changesBetween(before, after), generated }
        ran.push({ task, done })
        events.done(task, done)
      }
    } finally {
      if (!connection.isLost) await connection.run('rollback')
    }
    return { ran, notTried: due.slice(ran.length) }
  })
}

/** Lint alone: without a database nothing is known to be applied, so all of it is looked at. */
export async function examineFiles(settings: Settings, events: Events): Promise<Migration[]> {
  const migrations = await readMigrations(settings.folder)
  await examine(migrations, settings, NO_FACTS, events)
  return migrations
}

/** Undoes the last `count`. */
export async function down(
  connection: DirectConnection,
  settings: Settings,
  options: { readonly count: number; readonly resume?: boolean },
  events: Events,
): Promise<number> {
  const files = readFolder(settings.folder)
  return await underLock(connection, settings, events, async () => {
    const applied = await readApplied(connection)
    const interrupted = options.resume ? interruptedIn(applied, true) : undefined
    refuseInterrupted(applied, await readMigrations(settings.folder), interrupted)
    const rows = interrupted === undefined ? applied.slice(-options.count).reverse() : [interrupted]
    const tasks: Task[] = []
    for (const row of rows) {
      const file = files.find(({ version }) => version === row.version)
      if (file === undefined)
        throw new HearthError(
          'BAD_REQUEST',
          `${nameOf(row)} has no files in ${settings.folder}, so how to undo it is not known`,
        )
      const upScript = await readScript(file.upPath)
      if (upScript.header.isIrreversible)
        throw new HearthError('BAD_REQUEST', `${file.stem} says that it is irreversible`)
      if (!file.hasDown)
        throw new HearthError(
          'BAD_REQUEST',
          `${file.stem} has no ${file.stem}.down.sql: write it; nothing was undone`,
        )
      const script = await readScript(file.downPath)
      refuseIncomplete(script)
      const { version, name } = file
      const skip = interrupted === undefined ? {} : { skip: interrupted.statementsDone }
      const limits = limitsOf(script, settings)
      tasks.push({ version, name, direction: 'down', script, ...limits, ...skip })
    }
    for (const task of tasks) await applyPatiently(connection, task, settings, events)
    return tasks.length
  })
}

async function underLock<Value>(
  connection: DirectConnection,
  settings: Settings,
  events: Events,
  act: () => Promise<Value>,
): Promise<Value> {
  if ((await connection.value('select pg_is_in_recovery()')) === 't')
    throw new HearthError(
      'READ_ONLY',
      'this server is a standby: set postgres.<name>.migrate_url, or url, to the primary',
    )
  await takeLock(connection, settings.waitMs, holder => events.waiting(holder))
  try {
    return await act()
  } finally {
    await releaseLock(connection)
  }
}

function duePart(
  migrations: readonly Migration[],
  applied: readonly Applied[],
  { folder }: Settings,
  { count = Infinity, allowOutOfOrder }: UpOptions,
  resumed: Applied | undefined,
): Migration[] {
  const { pending, problems } = standingOf(migrations, applied, folder)
  const inTheWay = problems.filter(
    ({ kind, version }) =>
      !(kind === 'out-of-order' && allowOutOfOrder) && version !== resumed?.version,
  )
  if (inTheWay.length > 0)
    throw new HearthError('BAD_REQUEST', inTheWay.map(({ text }) => text).join('\n'))
  return pending.slice(0, resumed === undefined ? count : Math.max(0, count - 1))
}

function interruptedIn(applied: readonly Applied[], isReverting: boolean): Applied {
  const found = applied.find(row => row.state !== 'applied' && row.isReverting === isReverting)
  if (found !== undefined) return found
  throw new HearthError(
    'BAD_REQUEST',
    `there is no interrupted ${isReverting ? 'down' : 'up'} to go on with`,
  )
}

function refuseInterrupted(
  applied: readonly Applied[],
  migrations: readonly Migration[],
  resumed: Applied | undefined,
): void {
  const found = applied.find(row => row.state !== 'applied' && row !== resumed)
  if (found === undefined) return
  const file = migrations.find(({ version }) => version === found.version)
  throw new HearthError('BAD_REQUEST', interruptedText(found, file))
}

function refuseIncomplete({ path, text }: Script): void {
  const refusals = refusalsIn(text)
  if (refusals.length === 0) return
  const list = refusals.map(each => `  ${each}`).join('\n')
  throw new HearthError(
    'BAD_REQUEST',
    `${path} does not say how to undo all of it, and nothing is guessed:\n${list}\n` +
      'Write there what is to be done, and take the lines "-- not inverted: …" out; nothing was undone',
  )
}

function upTask({ version, name, up: script, downPath }: Migration, settings: Settings): Task {
  return { version, name, direction: 'up', script, downPath, ...limitsOf(script, settings) }
}

function limitsOf({ header }: Script, settings: Settings) {
  return {
    lockTimeoutMs: header.lockTimeoutMs ?? settings.lockTimeoutMs,
    statementTimeoutMs: header.statementTimeoutMs ?? settings.statementTimeoutMs,
  }
}

/** Rejects with BAD_REQUEST when a finding refuses it. */
async function examine(
  migrations: readonly Migration[],
  settings: Settings,
  facts: Facts,
  events: Events,
): Promise<void> {
  if (settings.lint === 'off') return
  const made = new Set<string>()
  const findings: Finding[] = []
  for (const { up: script } of migrations)
    findings.push(...(await lint(script, facts, settings, made)))
  events.found(findings)
  const refused = findings.filter(({ level }) => level === 'refused')
  if (refused.length === 0 || settings.lint === 'warn') return
  const codes = [...new Set(refused.map(({ code }) => code))].join(',')
  throw new HearthError(
    'BAD_REQUEST',
    `nothing was run: ${refused.length === 1 ? 'a change' : `${refused.length} changes`} would stop those who use a big table ` +
      `(${codes}). Write the safe form, or accept it by \`-- hearth: allow=${codes}\` at the top of the file`,
  )
}

async function applyPatiently(
  connection: DirectConnection,
  task: Task,
  { lockRetries, lockRetryPauseMs }: Settings,
  events: Events,
): Promise<void> {
  events.begun(task)
  for (let left = lockRetries; ; left--) {
    try {
      events.done(task, await apply(connection, task))
      return
    } catch (error) {
      const isLocked = isHearthError(error) && error.sqlState === LOCK_NOT_AVAILABLE
      if (!isLocked || left === 0 || !task.script.header.isTransaction) throw error
      events.again(task, lockRetryPauseMs)
      await sleep(lockRetryPauseMs)
    }
  }
}

const LOCK_NOT_AVAILABLE = '55P03'
const UNSAFE_NEW_VALUE = '55P04'
