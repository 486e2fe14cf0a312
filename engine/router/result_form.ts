/** result_form: the list of the results read most, as it stands in the file.
 *  Owns:   its form.   Not here: which results those are (result_list.ts), what becomes of them (result_warming.ts).
 *  Thread: main.
 *  Holds:  (1) no longer than RESULT_LIST_BYTES_MAX: the hottest come first, and the rest is left out.  (2) what is damaged, strange
 *          or of another version is an empty list.
 *
 *  msgpack: [version, statements, results], a result naming its statement by its place. Parameters are as the key has them. */

import { RESULT_LIST_BYTES_MAX, RESULT_LIST_COUNT_MAX } from '../limits.ts'
import { decodeValue, encodeValue } from '../protocol/payload.ts'
import type { Keeping } from './query_flight.ts'

export interface ListedStatement {
  readonly database: string
  readonly held: string | undefined
  readonly sql: string
  readonly keeping: Keeping
}

export interface ListedResult {
  readonly statement: ListedStatement
  /** The bits of the count of its reads. */
  readonly level: number
  /** msgpack. */
  readonly params: Buffer
}

const VERSION = 1
/** What msgpack adds to a row's texts and bytes, at most. */
const ROW_BYTES = 64

export function packResults(results: Iterable<ListedResult>): Buffer {
  const places = new Map<ListedStatement, number>()
  const statements: unknown[] = []
  const rows: unknown[] = []
  let left = RESULT_LIST_BYTES_MAX - ROW_BYTES
  for (const { statement, level, params } of results) {
    const known = places.get(statement)
    left -= params.length + ROW_BYTES + (known === undefined ? bytesOf(statement) : 0)
    if (left < 0) break
    const place = known ?? statements.push(rowOf(statement)) - 1
    if (known === undefined) places.set(statement, place)
    rows.push([place, level, params])
  }
  return encodeValue([VERSION, statements, rows])
}

export function unpackResults(bytes: Buffer): ListedResult[] {
  if (bytes.length === 0) return []
  try {
    const [version, statements, rows] = decodeValue(bytes) as [number, unknown[][], unknown[][]]
    if (version !== VERSION) return []
    const known = statements.map(statementIn)
    return rows.slice(0, RESULT_LIST_COUNT_MAX).map(([place, level, params]) => {
      const statement = known[place as number]
      check(statement !== undefined && isCount(level) && params instanceof Uint8Array)
      return { statement, level: level as number, params: Buffer.from(params as Uint8Array) }
    })
  } catch {
    return []
  }
}

function rowOf({ database, held, sql, keeping }: ListedStatement): unknown[] {
  const { ttl, staleMs, bounds, tags } = keeping
  const { minMs, maxMs } = bounds ?? { minMs: 0, maxMs: 0 }
  return [database, held ?? null, sql, ttl ?? null, staleMs, minMs, maxMs, tags]
}

function bytesOf({ database, held = '', sql, keeping }: ListedStatement): number {
  const { ttl, tags } = keeping
  const texts = [database, held, sql, typeof ttl === 'string' ? ttl : '', ...tags]
  return texts.reduce((sum, text) => sum + Buffer.byteLength(text) + 5, ROW_BYTES)
}

/** Throws for what rowOf() never made. */
function statementIn(row: unknown[]): ListedStatement {
  const [database, held, sql, ttl, staleMs, minMs, maxMs, tags] = row
  check(isText(database) && isText(sql) && (held === null || isText(held)))
  check(ttl === null || isText(ttl) || isCount(ttl))
  check([staleMs, minMs, maxMs].every(isCount) && Array.isArray(tags) && tags.every(isText))
  const bounds = maxMs === 0 ? undefined : { minMs: minMs as number, maxMs: maxMs as number }
  return {
    database: database as string,
    held: (held as string | null) ?? undefined,
    sql: sql as string,
    keeping: {
      ttl: (ttl as number | string | null) ?? undefined,
      staleMs: staleMs as number,
      tags: tags as string[],
      bounds,
    },
  }
}

const isText = (value: unknown): boolean => typeof value === 'string'
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0

function check(isRight: boolean): asserts isRight {
  if (!isRight) throw new RangeError('no list of results')
}
