/** watch_install: puts the triggers of `hearth watch` into a database, takes them out, and looks which are there.
 *  Owns:   the steps, and how long each may wait.   Not here: the SQL (../watch/triggers.ts), the words (commands/watch.ts).
 *  Thread: main.
 *  Holds:  (1) each table is a transaction of its own, and waits LOCK_MS for its lock, so that whoever queues behind it waits no
 *          longer; a busy one is tried again, and then named, and the others are done.  (2) what is there already is not
 *          touched: a second install takes no lock.  (3) after a removal nothing of ours is left. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from '../client/database.ts'
import type { Transaction } from '../client/transaction.ts'
import { HearthError } from '../errors.ts'
import {
  addTrigger,
  dropTrigger,
  lockTimeout,
  NOTIFY_EVERYTHING,
  REMOVAL,
  SETUP,
  TABLES,
  TRIGGERED,
  type WatchableTable,
} from '../watch/triggers.ts'
import { type Chosen, chosenTables, descendantsOf, familyOf } from './watch_tables.ts'

/** Others wait behind us for so long at most. */
const LOCK_MS = 500
const TRIES = 3
/** Those who waited get their turn. */
const PAUSE_MS = 250
/** `create or replace trigger`. */
const RELEASE_MIN = 140_000

export interface Failed {
  readonly table: string
  readonly error: HearthError
}

export interface InstallReport {
  readonly installed: readonly string[]
  /** Tables that had their trigger before. */
  readonly already: number
  readonly failed: readonly Failed[]
  /** Tables that are created from now on get their trigger, and any DDL ends what is cached. */
  readonly followsNewTables: boolean
  /** The server has prepared transactions (two-phase commit) turned on. */
  readonly hasTwoPhase: boolean
}

export interface RemoveReport {
  readonly removed: readonly string[]
  readonly failed: readonly Failed[]
}

export interface WatchStatus {
  readonly watched: readonly string[]
  readonly unwatched: readonly string[]
  readonly followsNewTables: boolean
}

interface Look {
  readonly release: number
  readonly twoPhase: number
  readonly isSuperuser: boolean
  readonly hasSchema: boolean
  readonly hasFunction: boolean
  readonly hasEventTriggers: boolean
}

/** Rejects with HearthError for what concerns all tables; what concerns one is in `failed`. */
export async function install(db: Database, chosen: Chosen): Promise<InstallReport> {
  const followsNewTables = await db.transaction(tx => setUp(tx, chosen))
  const all = await tablesOf(db)
  const tables = familyOf(chosenTables(all, chosen), all)
  const installed: string[] = []
  const failed: Failed[] = []
  for (const { quoted, isWatched } of tables) {
    if (isWatched) continue
    await eachTable(db, quoted, addTrigger(quoted), installed, failed)
  }
  await db.query(NOTIFY_EVERYTHING)
  const already = tables.filter(({ isWatched }) => isWatched).length
  const { twoPhase } = await look(db)
  return { installed, already, failed, followsNewTables, hasTwoPhase: twoPhase > 0 }
}

/** Of no tables in particular: of all, with the functions and the schema. */
export async function remove(db: Database, chosen: Chosen): Promise<RemoveReport> {
  const isAll = chosen.names.length === 0 && chosen.schema === undefined
  if (isAll && (await look(db)).hasEventTriggers)
    await db.transaction(tx => runAll(tx, REMOVAL.eventTriggers))
  const { rows } = await db.query<{ id: number; quoted: string }>(TRIGGERED)
  const meant = isAll ? undefined : await idsOf(db, chosen)
  const removed: string[] = []
  const failed: Failed[] = []
  for (const { id, quoted } of rows) {
    if (meant === undefined || meant.has(id))
      await eachTable(db, quoted, [dropTrigger(quoted)], removed, failed)
  }
  if (isAll && failed.length === 0) await db.transaction(tearDown)
  await db.query(NOTIFY_EVERYTHING)
  return { removed, failed }
}

export async function status(db: Database, chosen: Chosen): Promise<WatchStatus> {
  const tables = chosenTables(await tablesOf(db), chosen)
  const named = (isWatched: boolean) =>
    tables.filter(each => each.isWatched === isWatched).map(({ quoted }) => quoted)
  const { hasEventTriggers } = await look(db)
  return { watched: named(true), unwatched: named(false), followsNewTables: hasEventTriggers }
}

/** Whether new tables are followed: only of the whole database, and only for a superuser. */
async function setUp(tx: Transaction, chosen: Chosen): Promise<boolean> {
  await tx.query(lockTimeout(LOCK_MS * TRIES))
  await tx.query(SETUP.lock)
  const { release, isSuperuser, hasSchema, hasFunction, hasEventTriggers } = await look(tx)
  if (release < RELEASE_MIN) {
    const found = Math.floor(release / 10_000)
    throw new HearthError('DATABASE', `hearth watch needs Postgres 14 or newer; this is ${found}`)
  }
  if (!hasSchema) await runAll(tx, SETUP.schema)
  if (!hasFunction) await runAll(tx, SETUP.functions)
  const isWhole = chosen.names.length === 0 && chosen.schema === undefined
  if (!isWhole || !isSuperuser) return hasEventTriggers
  await runAll(tx, SETUP.eventTriggers)
  return true
}

async function tearDown(tx: Transaction): Promise<void> {
  await tx.query(lockTimeout(LOCK_MS * TRIES))
  await tx.query(SETUP.lock)
  await runAll(tx, REMOVAL.functions)
  await tx
    .transaction(inner => inner.query(REMOVAL.schema))
    .catch(error => {
      if (!isOf(error, SOMETHING_DEPENDS) && !isOf(error, NOT_OWNER)) throw error
    })
}

async function eachTable(
  db: Database,
  table: string,
  statements: readonly string[],
  done: string[],
  failed: Failed[],
): Promise<void> {
  for (let left = TRIES - 1; ; left--) {
    try {
      await db.transaction(async tx => {
        await tx.query(lockTimeout(LOCK_MS))
        await runAll(tx, statements)
      })
      done.push(table)
      return
    } catch (error) {
      if (isOf(error, NO_TABLE)) return // dropped meanwhile
      const isBusy = isOf(error, LOCK_NOT_AVAILABLE) || isOf(error, DEADLOCK)
      if (isBusy && left > 0) {
        await sleep(PAUSE_MS)
        continue
      }
      // Without a server there is no sense in trying the others.
      if (!(error instanceof HearthError) || error.code !== 'DATABASE') throw error
      failed.push({ table, error: isBusy ? busyError(table, error) : error })
      return
    }
  }
}

function busyError(table: string, { sqlState, detail }: HearthError): HearthError {
  const text =
    `${table} is busy: its lock was not to be had in ${TRIES} tries of ${LOCK_MS} ms, so that nobody had to wait ` +
    'longer behind them; end the long transaction that uses it (pg_stat_activity shows it), and run this again'
  return new HearthError('DATABASE', text, { sqlState, detail })
}

async function runAll(tx: Transaction, statements: readonly string[]): Promise<void> {
  for (const sql of statements) await tx.query(sql)
}

async function look(db: Pick<Database, 'query'>): Promise<Look> {
  return (await db.query<Look>(SETUP.look, SETUP.lookParams)).rows[0]!
}

async function tablesOf(db: Database): Promise<WatchableTable[]> {
  return (await db.query<WatchableTable>(TABLES)).rows
}

async function idsOf(db: Database, chosen: Chosen): Promise<Set<number>> {
  const all = await tablesOf(db)
  return new Set(descendantsOf(chosenTables(all, chosen), all).map(({ id }) => id))
}

function isOf(error: unknown, sqlState: string): boolean {
  return error instanceof HearthError && error.sqlState === sqlState
}

const NO_TABLE = '42P01'
const LOCK_NOT_AVAILABLE = '55P03'
const DEADLOCK = '40P01'
const SOMETHING_DEPENDS = '2BP01'
const NOT_OWNER = '42501'
