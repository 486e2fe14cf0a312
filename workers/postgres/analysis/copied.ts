/** copied: what a COPY does, said as a query that the server analyses: it takes COPY itself for a command of unknown kind.
 *  Owns:   nothing: pure functions.   Thread: postgres worker.
 *  Holds:  a COPY that is not recognised, or that calls functions (WHERE), is left as it is, and so a doubt. What is cut wrongly is
 *          no statement, and so a doubt too. */

import type { Statement } from '../statement.ts'

const NAME = String.raw`(?:"(?:[^"]|"")+"|[\p{L}_][\p{L}\p{N}_$]*)`
const TABLE = String.raw`(${NAME}(?:\s*\.\s*${NAME})?)\s*(?:\([^()]*\)\s*)?`
const FROM = new RegExp(String.raw`^\s*copy\s+${TABLE}\bfrom\b`, 'iu')
const TO = new RegExp(String.raw`^\s*copy\s+${TABLE}\bto\b`, 'iu')
const QUERY_TO = /^\s*copy\s*\((.*)\)\s*to\b/isu

/** Rows that come in fire the triggers and defaults of an INSERT; rows that go out are those of a query. */
export function analysedText({ word, sql }: Statement): string {
  if (word !== 'copy') return sql
  const into = FROM.exec(sql)?.[1]
  if (into !== undefined) return /\bwhere\b/i.test(sql) ? sql : `insert into ${into} default values`
  const from = TO.exec(sql)?.[1]
  return from === undefined ? (QUERY_TO.exec(sql)?.[1] ?? sql) : `table ${from}`
}
