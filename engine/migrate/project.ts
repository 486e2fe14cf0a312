/** project: what a migration is once its file is read: text, header, statements.
 *  Owns:   reading them, and what is refused before anything is sent.   Not here: lint (lint.ts), running (apply.ts).
 *  Thread: main of a command.
 *  Holds:  (1) a transactional migration holds no statement that would end its transaction, or cannot run in one.  (2) what the parser
 *          does not understand goes to the server as one piece, which the server takes apart, unless each statement must go alone. */

import { HearthError } from '../errors.ts'
import type { MigrationFile } from './files.ts'
import { checksumOf, readSql } from './files.ts'
import { type Header, readHeader } from './header.ts'
import { parseSql, type Statement } from './parser.ts'
import { excerptAt, placeAt } from './place.ts'

export interface Script {
  readonly path: string
  readonly text: string
  readonly checksum: string
  readonly header: Header
  readonly statements: readonly Statement[]
  /** It was not understood, and `statements` is the whole of it. */
  readonly isOpaque: boolean
}

export interface Migration extends MigrationFile {
  readonly up: Script
}

export async function readMigration(file: MigrationFile): Promise<Migration> {
  return { ...file, up: await readScript(file.upPath) }
}

/** Throws BAD_REQUEST, with the place, for what cannot be run as it says it is to be. */
export async function readScript(path: string): Promise<Script> {
  const text = readSql(path)
  const header = readHeader(text, path)
  const parsed = await parseSql(text)
  const base = { path, text, checksum: checksumOf(text), header }
  if (parsed.problem !== undefined) {
    if (header.isTransaction) {
      const whole: Statement = { kind: 'unknown', node: UNKNOWN, sql: text, start: 0 }
      return { ...base, statements: [whole], isOpaque: true }
    }
    throw problemAt(base, parsed.problem.at, parsed.problem.message)
  }
  const script = { ...base, statements: parsed.statements, isOpaque: false }
  for (const statement of script.statements) {
    const why = refusalOf(statement, header.isTransaction)
    if (why !== undefined) throw problemAt(script, statement.start, why)
  }
  return script
}

/** A BAD_REQUEST that shows the place. */
export function problemAt(
  { path, text }: Pick<Script, 'path' | 'text'>,
  at: number,
  message: string,
): HearthError {
  const place = placeAt(text, at)
  const head = `${path}:${place.line}:${place.column}: ${message}`
  return new HearthError('BAD_REQUEST', `${head}\n${excerptAt(text, place)}`)
}

function refusalOf({ kind, node, sql }: Statement, isTransaction: boolean): string | undefined {
  if ('CopyStmt' in node && !node.CopyStmt.filename && !node.CopyStmt.is_program)
    return 'COPY from or to the client is not possible in a migration; use INSERT, or COPY of a file of the server'
  if (!isTransaction) return undefined
  if ('TransactionStmt' in node && !NESTED.has(node.TransactionStmt.kind as string))
    return 'a migration is one transaction, begun and committed for it; take this out, or write `-- hearth: no-transaction` at the top'
  if (!needsNoTransaction(node, kind)) return undefined
  const what = sql.split(/\s+/).slice(0, 3).join(' ').toUpperCase()
  return `${what} … cannot run in a transaction; write \`-- hearth: no-transaction\` at the top, and best nothing else in the file`
}

const NESTED = new Set(['TRANS_STMT_SAVEPOINT', 'TRANS_STMT_RELEASE', 'TRANS_STMT_ROLLBACK_TO'])

/** Postgres' own rule (PreventInTransactionBlock). */
function needsNoTransaction(node: Node, kind: string): boolean {
  if ('IndexStmt' in node) return node.IndexStmt.concurrent === true
  if ('DropStmt' in node) return node.DropStmt.concurrent === true
  if ('VacuumStmt' in node) return node.VacuumStmt.is_vacuumcmd === true
  if ('ReindexStmt' in node)
    return (node.ReindexStmt.params ?? []).some(
      param => 'DefElem' in param && param.DefElem.defname === 'concurrently',
    )
  if ('AlterTableStmt' in node)
    return (node.AlterTableStmt.cmds ?? []).some(
      cmd =>
        'AlterTableCmd' in cmd &&
        cmd.AlterTableCmd.subtype === 'AT_DetachPartition' &&
        partitionOf(cmd.AlterTableCmd.def)?.concurrent === true,
    )
  return ALONE.has(kind)
}

function partitionOf(node: Node | undefined) {
  return node !== undefined && 'PartitionCmd' in node ? node.PartitionCmd : undefined
}

const ALONE = new Set([
  'CreatedbStmt',
  'DropdbStmt',
  'AlterSystemStmt',
  'CreateTableSpaceStmt',
  'DropTableSpaceStmt',
])

type Node = Statement['node']
const UNKNOWN = {} as Node
