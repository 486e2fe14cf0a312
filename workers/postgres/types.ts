/** Types: Postgres' text form → JavaScript values, by the type's oid.
 *  Owns:   the table.   Not here: the other direction (parameters.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) no value loses digits.  (2) a type that is not in the table stays text.
 *
 *  As npm `pg` does, but for these: int8 is a number where that is exact, else a bigint (pg: always text); `date` is its
 *  own text, since a day is no moment (pg: midnight in the process's time zone); interval, point and circle are text
 *  (pg: objects); elements of numeric[] are text like numeric itself (pg: rounded numbers). */

export type Parser = (text: string) => unknown

/** Undefined: the text itself is the value. */
export function parserOf(typeOid: number): Parser | undefined {
  return PARSERS.get(typeOid)
}

const OID = {
  bool: 16,
  bytea: 17,
  int8: 20,
  int2: 21,
  int4: 23,
  oid: 26,
  json: 114,
  float4: 700,
  float8: 701,
  timestamp: 1114,
  timestamptz: 1184,
  jsonb: 3802,
} as const

const SCALARS: Record<keyof typeof OID, Parser> = {
  bool: text => text === 't',
  bytea: parseBytea,
  int8: parseInt8,
  int2: Number,
  int4: Number,
  oid: Number,
  json: text => JSON.parse(text),
  float4: Number,
  float8: Number,
  timestamp: parseTimestamp,
  timestamptz: parseTimestamp,
  jsonb: text => JSON.parse(text),
}

/** Array oid → element. `text` stands for every element that stays text: char, name, text, bpchar, varchar, numeric,
 *  uuid, date, time, timetz, interval, money, inet, cidr, macaddr and the ranges. */
const ARRAYS: Record<number, keyof typeof OID | 'text'> = {
  1000: 'bool',
  1001: 'bytea',
  1016: 'int8',
  1005: 'int2',
  1007: 'int4',
  1028: 'oid',
  199: 'json',
  1021: 'float4',
  1022: 'float8',
  1115: 'timestamp',
  1185: 'timestamptz',
  3807: 'jsonb',
  1002: 'text',
  1003: 'text',
  1009: 'text',
  1014: 'text',
  1015: 'text',
  1231: 'text',
  2951: 'text',
  1182: 'text',
  1183: 'text',
  1270: 'text',
  1187: 'text',
  791: 'text',
  1041: 'text',
  651: 'text',
  1040: 'text',
  3905: 'text',
  3907: 'text',
  3909: 'text',
  3911: 'text',
  3913: 'text',
  3927: 'text',
}

const PARSERS = new Map<number, Parser>()
for (const [name, oid] of Object.entries(OID)) PARSERS.set(oid, SCALARS[name as keyof typeof OID])
for (const [oid, element] of Object.entries(ARRAYS)) {
  const parse = element === 'text' ? undefined : SCALARS[element]
  PARSERS.set(Number(oid), text => parseArray(text, parse))
}

function parseInt8(text: string): number | bigint {
  if (text.length < 16) return Number(text)
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : BigInt(text)
}

function parseBytea(text: string): Buffer {
  if (text.startsWith('\\x')) return Buffer.from(text.slice(2), 'hex')
  // bytea_output = escape: the connection asks for hex, a function may have set it otherwise.
  const plain = text.replace(/\\(\\|[0-7]{3})/g, (_, code: string) =>
    code === '\\' ? '\\' : String.fromCharCode(Number.parseInt(code, 8)),
  )
  return Buffer.from(plain, 'latin1')
}

// 2016-01-11 17:30:00[.123456][+01[:30[:15]]][ BC]
const TIMESTAMP =
  /^(\d+)-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(\.\d+)?(?:([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?)?( BC)?$/

/** A Date; without an offset in the text it is this process's local time, as `pg` has it. ±infinity is a number. */
function parseTimestamp(text: string): Date | number | string {
  const found = TIMESTAMP.exec(text)
  if (found === null) {
    return text === 'infinity' ? Infinity : text === '-infinity' ? -Infinity : text
  }
  const [, year, month, day, hour, minute, second, fraction, sign, ...offset] = found
  const fullYear = found[12] === undefined ? Number(year) : 1 - Number(year)
  const ms = fraction === undefined ? 0 : Math.trunc(Number(fraction) * 1_000)
  const date = new Date(0)
  if (sign === undefined) {
    date.setFullYear(fullYear, Number(month) - 1, Number(day))
    date.setHours(Number(hour), Number(minute), Number(second), ms)
    return date
  }
  date.setUTCFullYear(fullYear, Number(month) - 1, Number(day))
  date.setUTCHours(Number(hour), Number(minute), Number(second), ms)
  const [hours, minutes, seconds] = offset
  const offsetMs =
    (Number(hours) * 3_600 + Number(minutes ?? 0) * 60 + Number(seconds ?? 0)) * 1_000
  date.setTime(date.getTime() + (sign === '+' ? -offsetMs : offsetMs))
  return date
}

/** `{1,NULL,"a \"b\"",{2,3}}`, with bounds before it or not (`[0:1]={…}`). */
function parseArray(text: string, parse: Parser | undefined): unknown[] {
  let at = text.indexOf('{')

  function list(): unknown[] {
    const values: unknown[] = []
    at++ // {
    while (text[at] !== '}') {
      values.push(text[at] === '{' ? list() : element())
      if (text[at] === ',') at++
    }
    at++ // }
    return values
  }

  function element(): unknown {
    const value = text[at] === '"' ? quoted() : bare()
    return value === null || parse === undefined ? value : parse(value)
  }

  function quoted(): string {
    let value = ''
    for (at++; text[at] !== '"'; at++) {
      if (text[at] === '\\') at++
      value += text[at]
    }
    at++
    return value
  }

  function bare(): string | null {
    const start = at
    while (text[at] !== ',' && text[at] !== '}') at++
    const value = text.slice(start, at)
    return value === 'NULL' ? null : value
  }

  return list()
}
