/** facts: what is known of one statement, and what is said of one of which nothing is.
 *  Owns:   nothing.   Not here: how it becomes known (probe.ts, verdict.ts), how long it is believed (analysis.ts).
 *  Thread: postgres worker.
 *  Holds:  in doubt a statement is one for the primary, its result is not kept, and it may have written everywhere.
 *
 *  Tags. A table's tag is the OID of its topmost ancestor: of the partitioned or inherited table above it, else its own. So a write
 *  to a partition meets a read of the whole, a read of a partition a write through the whole, and a table of 5 000 partitions, or
 *  one that was attached a moment ago, costs one tag. Two partitions read by their own names share it: they are forgotten together. */

import type { Statement } from '../statement.ts'
import { analysedText } from './copied.ts'

export interface Facts {
  /** What it does to data. Row locks and random() are no writes, and yet need the primary. */
  readonly side: 'read' | 'write' | 'unknown'
  /** Tags of the tables that its result depends on: behind views, and behind functions whose body the server has parsed. */
  readonly reads: readonly number[]
  /** Tags of the tables that it changes, by foreign keys that cascade too. */
  readonly writes: readonly number[] | 'everything'
  readonly mayUseReplica: boolean
  /** Why its result may not be kept, in words; undefined: it may. */
  readonly cacheRefusal: string | undefined
  /** Why it may have written everything, or why nothing is known of it. */
  readonly doubt: string | undefined
  /** Names of the tables that it reads or writes: schema-qualified, quoted where SQL would want it, sorted. */
  readonly tables: readonly string[]
  /** It takes a date or a time as a parameter, which may be the text 'now': see paramRefusal(). */
  readonly hasTimeParameter: boolean
  /** Once it has run, what is known of other statements may be wrong: forgetAll(). Not said of what a VOLATILE function may do, which
   *  would be at each call: that is noticed by age, like the DDL of others. */
  readonly mayChangeSchema: boolean
  /** The doubt is of this moment (a lock, no connection): it is asked again soon. */
  readonly isPassing: boolean
}

const NOTHING: readonly never[] = []

/** Nothing is known of it. */
export function unknownFacts(doubt: string, isPassing = false): Facts {
  return {
    side: 'unknown',
    reads: NOTHING,
    writes: 'everything',
    mayUseReplica: false,
    cacheRefusal: doubt,
    doubt,
    tables: NOTHING,
    hasTimeParameter: false,
    mayChangeSchema: false,
    isPassing,
  }
}

/** Of commands that are no queries; undefined for those that the server is to be asked about. */
export function factsOfCommand(statement: Statement): Facts | undefined {
  const { word, sql, isPreparable } = statement
  if (isPreparable || word === '' || analysedText(statement) !== sql) return undefined
  const name = word.toUpperCase()
  // EXPLAIN runs nothing unless it is told to; the word may also stand in a name, which costs a doubt.
  if (word === 'show' || (word === 'explain' && !/\banaly[sz]e\b/i.test(sql))) {
    const cacheRefusal = `what ${name} answers is about the server, not from tables`
    return { ...unknownFacts(cacheRefusal), side: 'read', writes: NOTHING, doubt: undefined }
  }
  if (CHANGES_NO_DATA.test(word)) {
    const cacheRefusal = `${name} answers nothing from tables`
    return { ...unknownFacts(cacheRefusal), side: 'read', writes: NOTHING, doubt: undefined }
  }
  const doubt = `what ${name} does is not known in advance`
  return { ...unknownFacts(doubt), mayChangeSchema: !KEEPS_SCHEMA.test(word) }
}

/** What nested transactions are made of (ROLLBACK TO SAVEPOINT), and commands that run nothing of a user's. */
const CHANGES_NO_DATA = /^(savepoint|release|rollback|lock|notify)$/

/** Commands after which names still mean what they meant. Not DO and CALL, which may run anything. */
const KEEPS_SCHEMA =
  /^(abort|analyze|analyse|begin|checkpoint|close|cluster|commit|copy|deallocate|declare|discard|end|explain|fetch|listen|load|move|prepare|refresh|reindex|reset|set|start|truncate|unlisten|vacuum)$/

/** Proven to change nothing: functions may write, and no text says which. Undefined: nobody has asked the server yet. */
export function isProvenRead(facts: Facts | undefined): boolean | undefined {
  return facts === undefined ? undefined : facts.side === 'read' && facts.mayUseReplica
}
