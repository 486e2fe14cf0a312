/** verdict: the server's answer about a statement → Facts.
 *  Owns:   nothing: pure functions.   Not here: the answer (question.ts), what is known of the server's own functions
 *          (system_functions.ts).
 *  Thread: postgres worker.
 *  Holds:  the first reason found is the one that is given, the most telling first: what a statement writes, what it reads, what it
 *          calls, how it is written. */

import type { Facts } from './facts.ts'
import { type Answer, FLAGS, type FunctionRow, OPS, type RelationRow } from './question.ts'
import {
  dependsOnSettings,
  leavesSomething,
  onlyMakesValues,
  runsAnything,
  tellsTime,
} from './system_functions.ts'

export function verdict(sql: string, answer: Answer): Facts {
  const { relations, functions } = answer
  const doubt = doubtOf(answer)
  const isWrite =
    doubt !== undefined ||
    answer.commands.some(command => command !== SELECT) ||
    functions.some(each => each.isSystem && leavesSomething(each.name))
  const tables = relations.filter(({ kind }) => kind !== 'v' && kind !== 'c')
  return {
    side: isWrite ? 'write' : 'read',
    reads: distinct(tables.filter(isRead).flatMap(({ roots }) => roots)),
    writes: doubt === undefined ? answer.writtenRoots : 'everything',
    mayUseReplica: !isWrite && mayUseReplica(answer),
    cacheRefusal: isWrite ? (doubt ?? 'it writes') : cacheRefusal(sql, answer),
    doubt,
    tables: distinct(tables.map(({ name }) => name)),
    hasTimeParameter: answer.flags.includes(FLAGS.hasTimeParameter),
    mayChangeSchema: false,
    isPassing: false,
  }
}

const SELECT = 1

/** Why it may have written to any table. */
function doubtOf({ functions, hidden, commands }: Answer): string | undefined {
  if (commands.length === 0) return 'there is no query in it'
  const hand = functions.find(isUnseenHand)
  if (hand !== undefined) return `it calls ${hand.name}(), which is VOLATILE and may write anything`
  // STABLE and IMMUTABLE ones are kept from writing by the server itself, but for VOLATILE ones that an unseen body calls, against
  // what it has declared.
  const [first] = hidden
  if (first !== undefined)
    return `${first}, which may write anything${first.startsWith('trigger') ? ' (declared STABLE, it may not)' : ''}`
}

function isUnseenHand({ name, volatility, isSystem, isSeen, extension }: FunctionRow): boolean {
  if (volatility !== 'v' || isSeen) return false
  return isSystem ? runsAnything(name) : !onlyMakesValues(extension)
}

/** Unless the server said that it is only written. */
function isRead({ ops }: RelationRow): boolean {
  return ops === 0 || (ops & OPS.select) !== 0
}

/** What a hot standby refuses, or what it may answer otherwise than the primary. */
function mayUseReplica({ flags, functions, relations, strangers }: Answer): boolean {
  if (flags.includes(FLAGS.locksRows) || strangers.length > 0) return false
  const isPlain = ({ kind, persistence, isSystem }: RelationRow) =>
    persistence === 'p' && !isSystem && kind !== 'S' && kind !== 'f'
  if (!relations.every(isPlain)) return false
  return functions.every(({ name, volatility, isSystem, isSeen }) => {
    if (volatility === 'v') return false
    return !isSystem || isSeen || volatility === 'i' || dependsOnSettings(name) || tellsTime(name)
  })
}

function cacheRefusal(sql: string, answer: Answer): string | undefined {
  const { flags, functions, relations, strangers } = answer
  if (flags.includes(FLAGS.locksRows)) return 'it locks the rows that it reads'
  for (const relation of relations) {
    const why = relationRefusal(relation)
    if (why !== undefined) return why
  }
  if (strangers.length > 0)
    return `${strangers[0]}, a part of what it reads, is a foreign or unlogged table`
  for (const each of functions) {
    const why = functionRefusal(each)
    if (why !== undefined) return why
  }
  if (flags.includes(FLAGS.tellsTime)) return 'it asks what time it is'
  if (flags.includes(FLAGS.convertsToTime))
    return "it makes dates or times of texts, and 'now' or 'today' among them means another one each time"
  if (flags.includes(FLAGS.hasTimeConstant) && namesMoment(sql))
    return "it has a date or time that moves ('now', 'today', 'tomorrow' or 'yesterday')"
  if (flags.includes(FLAGS.samples)) return 'TABLESAMPLE gives other rows each time'
  if (flags.includes(FLAGS.hasSystemColumn))
    return 'it reads system columns (ctid, xmin …), which change without a write'
}

function relationRefusal(relation: RelationRow): string | undefined {
  const { name, kind, persistence, hasRowSecurity, isSystem } = relation
  if (isSystem) return `${name} is a system catalog, which changes without a write`
  if (persistence === 't') return `${name} is a temporary table`
  if (hasRowSecurity) return `row security is on for ${name}: who asks decides what there is`
  if (kind === 'f') return `${name} is a foreign table, which others write to`
  if (kind === 'S') return `${name} is a sequence`
}

function functionRefusal(each: FunctionRow): string | undefined {
  const { name, volatility, isSystem, isSeen, language, extension } = each
  if (volatility === 'v') return `${name}() is VOLATILE: it may answer otherwise each time`
  if (isSeen || (isSystem && (volatility === 'i' || dependsOnSettings(name)))) return undefined
  if (isSystem && tellsTime(name)) return 'it asks what time it is'
  if (isSystem) return `${name}() depends on more than tables`
  // Code in C that says that it depends on nothing but its arguments is believed; functions in other languages often say so,
  // for the sake of an index, and read tables.
  const isBelieved = language === 'c' || language === 'internal' || extension !== ''
  if (volatility === 'i' && isBelieved) return undefined
  return `the body of ${name}() cannot be seen: written in SQL with RETURN or BEGIN ATOMIC, it could`
}

/** Whether a text has one of the words in it that the input of dates and times reads as a moment. */
export function namesMoment(text: string): boolean {
  // A digit may stand before it ('10:00today'), and an escape for any letter of it.
  return text.includes('\\') || /(?<![a-z_])(?:now|today|tomorrow|yesterday)\b(?!\s*\()/i.test(text)
}

function distinct<T>(values: readonly T[]): T[] {
  return [...new Set(values)]
}
