/** apply: one migration done to a database, or undone, with all that is written down of it.
 *  Owns:   its transaction, or the steps of one that has none.   Not here: which ones are due (runner.ts).
 *  Thread: main of a command.
 *  Holds:  (1) with a transaction: what the file does, its row in the history and the catalog that it left are committed together, or
 *          none of it is.  (2) without one: before each statement it is known how many are done, so that a death in between is seen.
 *          (3) what others changed meanwhile stays drift: of the catalog only what this migration changed is taken over.
 *          (4) engines that listen are told with the commit. */

import { unlinkSync } from 'node:fs'
import { monotonicMs } from '../clock.ts'
import { HearthError, isHearthError, toHearthError } from '../errors.ts'
import { NOTIFY_EVERYTHING } from '../watch/triggers.ts'
import {
  applyChanges,
  type CatalogChange,
  type CatalogObject,
  changesBetween,
  hashOf,
  takeCatalog,
} from './catalog.ts'
import type { DirectConnection } from './direct_connection.ts'
import { type Generated, mayGenerate } from './down_file.ts'
import { runStatement, setTimeouts } from './execute.ts'
import { writeWhole } from './files.ts'
import { generateDown, Undoing } from './generate.ts'
import {
  addApplied,
  addRun,
  finishApplied,
  keepCatalog,
  readCatalog,
  removeApplied,
  setState,
} from './history.ts'
import { checkLock } from './lock.ts'
import { Lookup } from './lookup.ts'
import type { Script } from './project.ts'

export interface Task {
  readonly version: string
  readonly name: string
  readonly direction: 'up' | 'down'
  readonly script: Script
  /** Where the way back goes, if one may be made. */
  readonly downPath?: string
  readonly lockTimeoutMs: number
  readonly statementTimeoutMs: number
  /** Statements of an interrupted run that are known to be done. */
  readonly skip?: number
}

export interface Done {
  readonly tookMs: number
  readonly changes: readonly CatalogChange[]
  readonly generated?: Generated | undefined
  /** It could not be written, and why. */
  readonly notWritten?: string | undefined
}

/** Rejects with ScriptError for what is in the file; nothing of a transactional one stands then. */
export async function apply(connection: DirectConnection, task: Task): Promise<Done> {
  await connection.run('reset all')
  await connection.applySettings()
  await checkLock(connection)
  const startedMs = monotonicMs()
  try {
    return task.script.header.isTransaction
      ? await inTransaction(connection, task, startedMs)
      : await stepByStep(connection, task, startedMs)
  } catch (error) {
    await noteFailure(connection, task, error, monotonicMs() - startedMs)
    throw error
  }
}

async function inTransaction(
  connection: DirectConnection,
  task: Task,
  startedMs: number,
): Promise<Done> {
  await connection.run('begin')
  let written = false
  try {
    await setTimeouts(connection, task.lockTimeoutMs, task.statementTimeoutMs, true)
    const { before, after, generated } = await runScript(connection, task)
    const changes = changesBetween(before, after)
    const tookMs = monotonicMs() - startedMs
    await writeRow(connection, task, before, changes, hashOf(after), tookMs)
    await connection.run(NOTIFY_EVERYTHING)
    const notWritten = writeGenerated(task, generated)
    written = generated !== undefined && notWritten === undefined
    await connection.run('commit')
    return { tookMs, changes, generated, notWritten }
  } catch (error) {
    if (written) unlinkSync(task.downPath!)
    if (!connection.isLost) await connection.run('rollback')
    throw error
  }
}

/** The statements within the transaction that is open, and the catalog before and after them. */
export async function runScript(connection: DirectConnection, task: Task) {
  const { script, downPath } = task
  const before = await takeCatalog(connection)
  const isMaking = downPath !== undefined && mayGenerate(downPath, script.checksum)
  const undoing =
    isMaking && !script.header.isIrreversible ? new Undoing(connection, script) : undefined
  for (let index = 0; index < script.statements.length; index++)
    await withUndoing(undoing, index, () => runStatement(connection, script, index))
  await closeScript(connection, script)
  const after = await takeCatalog(connection)
  const generated = undoing && (await generateDown(connection, undoing, before))
  return { before, after, generated }
}

/** What would come with the commit comes now; and whoever it had become, it is itself again. */
async function closeScript(connection: DirectConnection, { path }: Script): Promise<void> {
  try {
    await connection.run('set constraints all immediate; reset session authorization; reset role')
  } catch (error) {
    if (!isHearthError(error) || connection.isLost) throw error
    const { code, message, sqlState, detail, hint } = error
    const text = `${path}: at its end: ${message}`
    throw new HearthError(code, text, { sqlState, detail, hint, cause: error })
  }
}

async function withUndoing(
  undoing: Undoing | undefined,
  index: number,
  run: () => Promise<void>,
): Promise<void> {
  if (undoing === undefined) return await run()
  await undoing.before(index)
  await run()
  await undoing.after(index)
}

async function stepByStep(
  connection: DirectConnection,
  task: Task,
  startedMs: number,
): Promise<Done> {
  const { script, version, name, direction, skip, downPath } = task
  const isReverting = direction === 'down'
  await setTimeouts(connection, task.lockTimeoutMs, task.statementTimeoutMs, false)
  // What an interrupted run has done is this migration's too.
  const kept = skip === undefined ? undefined : await readCatalog(connection)
  const before = kept ?? (await takeCatalog(connection))
  const isMaking =
    downPath !== undefined && skip === undefined && mayGenerate(downPath, script.checksum)
  const undoing =
    isMaking && !script.header.isIrreversible ? new Undoing(connection, script) : undefined
  const state = isReverting ? 'reverting' : 'applying'
  if (isReverting || skip !== undefined)
    await setState(connection, version, state, isReverting, skip ?? 0)
  else await addApplied(connection, { version, name, checksum: script.checksum, state })
  if (skip !== undefined) await dropInvalidIndex(connection, script, skip)
  for (let index = skip ?? 0; index < script.statements.length; index++) {
    await withUndoing(undoing, index, () => runStatement(connection, script, index))
    await setState(connection, version, state, isReverting, index + 1)
  }
  if (!connection.isIdle) throw openError(script)
  const after = await takeCatalog(connection)
  const changes = changesBetween(before, after)
  const tookMs = monotonicMs() - startedMs
  const generated = undoing?.compose({ isProved: false })
  await connection.run('begin')
  if (isReverting) await writeRow(connection, task, before, changes, hashOf(after), tookMs)
  else {
    await finishApplied(connection, version, script.checksum, tookMs, hashOf(after))
    await noteRun(connection, task, before, changes, tookMs)
  }
  await connection.run(NOTIFY_EVERYTHING)
  await connection.run('commit')
  return { tookMs, changes, generated, notWritten: writeGenerated(task, generated) }
}

/** CREATE INDEX CONCURRENTLY that did not end leaves an index which is not used, and in the way of the next try. */
async function dropInvalidIndex(
  connection: DirectConnection,
  { statements }: Script,
  index: number,
): Promise<void> {
  const node = statements[index]?.node
  if (node === undefined || !('IndexStmt' in node) || !node.IndexStmt.concurrent) return
  const { idxname, relation } = node.IndexStmt
  const table = await new Lookup(connection).relation(relation)
  if (table === undefined || idxname === undefined) return
  const name = await connection.value(
    `select format('%I.%I', n.nspname, c.relname) from pg_index i join pg_class c on c.oid = i.indexrelid
     join pg_namespace n on n.oid = c.relnamespace where i.indrelid = $1::oid and c.relname = $2 and not i.indisvalid`,
    [table.oid, idxname],
  )
  if (name !== null) await connection.run(`drop index concurrently ${name}`)
}

async function writeRow(
  connection: DirectConnection,
  task: Task,
  before: readonly CatalogObject[],
  changes: readonly CatalogChange[],
  catalogHash: string,
  durationMs: number,
): Promise<void> {
  const { version, name, direction, script } = task
  if (direction === 'down') await removeApplied(connection, version)
  else {
    const { checksum } = script
    await addApplied(connection, {
      version,
      name,
      checksum,
      state: 'applied',
      durationMs,
      catalogHash,
    })
  }
  await noteRun(connection, task, before, changes, durationMs)
}

async function noteRun(
  connection: DirectConnection,
  { version, name, direction }: Task,
  before: readonly CatalogObject[],
  changes: readonly CatalogChange[],
  durationMs: number,
): Promise<void> {
  await addRun(connection, { version, name, direction, outcome: 'done', durationMs })
  const kept = (await readCatalog(connection)) ?? before
  await keepCatalog(connection, applyChanges(kept, changes))
}

/** What was tried and failed is history too; that it could not be noted is no second error. */
async function noteFailure(
  connection: DirectConnection,
  task: Task,
  cause: unknown,
  durationMs: number,
): Promise<void> {
  if (connection.isLost) return
  const { version, name, direction, script } = task
  const error = toHearthError(cause).message.split('\n')[0]
  try {
    if (!connection.isIdle) await connection.run('rollback')
    if (!script.header.isTransaction) {
      await setState(connection, version, 'failed', direction === 'down')
      await connection.run(NOTIFY_EVERYTHING)
    }
    await addRun(connection, { version, name, direction, outcome: 'failed', durationMs, error })
  } catch {}
}

/** Why it could not be written; undefined: it was, or there is none. */
function writeGenerated({ downPath }: Task, generated: Generated | undefined): string | undefined {
  if (generated === undefined || downPath === undefined) return undefined
  try {
    writeWhole(downPath, generated.text)
  } catch (error) {
    return (error as Error).message
  }
  return undefined
}

function openError({ path }: Script): HearthError {
  return new HearthError(
    'BAD_REQUEST',
    `${path}: it leaves a transaction open, which was rolled back`,
  )
}
