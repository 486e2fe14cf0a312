/** 26: random values of each type: as npm `pg` reads them, the same in binary, and back as the parameter they were.
 *  Owns:   one server, one connection.   Thread: main of a test process.
 *  Holds:  where `pg` differs on purpose (pg_types.ts says where) its parser is replaced; all else must be equal.
 *  Runs:   beside others, since no figure of it is near its bound. */

import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { PG_TYPES } from '../engine/protocol/pg_types.ts'
import { toParameters } from '../workers/postgres/parameters.ts'
import { binaryRows, textRows } from './helpers/encoded_rows.ts'
import { PQ, type Pq } from './helpers/native_clients.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { FULL, type Random, randomTest, SEED } from './helpers/random.ts'

process.env['TZ'] = 'America/St_Johns'

const RIVALS = join(import.meta.dirname, '../bench/rivals/package.json')
const HAS_PG = existsSync(join(RIVALS, '../node_modules/pg/package.json'))
const ROWS = FULL ? 5_000 : 400

let pq: Pq
let url: string

before(async () => {
  console.log(`# HEARTH_TEST_SEED=${SEED}`)
  url = (await sharedPostgres()).url
  pq = new PQ()
  pq.connectSync(url)
})

after(() => pq.finish())

/** A value in Postgres' own words, by type. */
const WORDS: Record<string, (random: Random) => string> = {
  bool: random => random.pick(['true', 'false']),
  int2: random => String(random.between(-32_768, 32_767)),
  int4: random => String(random.next() | 0),
  oid: random => String(random.next()),
  int8: randomInt8,
  float4: random => String(float32(random)),
  float8: random => String(float64(random)),
  numeric: random =>
    `${random.pick(['', '-'])}${digits(random, random.between(1, 40))}.${digits(random, random.between(1, 20))}`,
  text: randomText,
  varchar: randomText,
  bpchar: randomText,
  name: random => digits(random, random.between(1, 60)),
  bytea: random => `\\x${random.bytes(random.below(40)).toString('hex')}`,
  json: random => JSON.stringify(randomJson(random, 3)),
  jsonb: random => JSON.stringify(randomJson(random, 3)),
  uuid: random => random.bytes(16).toString('hex'),
  timestamp: randomMoment,
  timestamptz: randomMoment,
  date: random => randomMoment(random).replace(/ \S+/, ''),
  time: random => randomMoment(random).split(' ')[1]!,
  interval: random => `${random.between(-900, 900)} days ${random.below(1e6)} seconds`,
  inet: random => `10.${random.below(256)}.0.${random.below(256)}/${random.below(33)}`,
  money: random => String(random.between(-1e6, 1e6) / 100),
  int4range: random => `[${random.between(-9, 0)},${random.between(1, 9)})`,
}

/** Types of which `pg` reads arrays, or is made to below. */
const ARRAYS = Object.keys(WORDS).filter(name => !['name', 'varchar', 'bpchar'].includes(name))

describe('random values', () => {
  randomTest('are what pg reads, and the same in binary', {}, async random => {
    const columns = [
      ...Object.keys(WORDS).map(type => ({ type, words: WORDS[type]! })),
      ...ARRAYS.map(type => ({
        type: `${type}[]`,
        words: (each: Random) => randomArray(each, WORDS[type]!),
      })),
    ]
    const definition = columns.map(({ type }, i) => `c${i} ${type}`)
    pq.exec(`create table random_values (id int, ${definition.join(', ')})`)
    for (let id = 0; id < ROWS; id++) {
      const values = columns.map(({ words }) => (random.chance(0.1) ? null : words(random)))
      const marks = values.map((_, i) => `$${i + 2}`)
      pq.execParams(`insert into random_values values ($1, ${marks.join(', ')})`, [id, ...values])
      assert.equal(pq.resultStatus(), 'PGRES_COMMAND_OK', pq.resultErrorMessage())
    }
    const found = textRows(pq, 'select * from random_values order by id')
    assert.equal(found.rows.length, ROWS)

    const binary = PG_TYPES.filter(type => type.binary !== 'none').map(({ name }) => name)
    const known = columns.flatMap(({ type }, i) => (binary.includes(type) ? [`c${i}`] : []))
    pq.exec(`set timezone = 'UTC'`) // for moments that no Date holds
    const inText = textRows(pq, `select ${known.join(', ')} from random_values order by id`)
    const inBinary = binaryRows(pq, `select ${known.join(', ')} from random_values order by id`)
    pq.exec('reset timezone')
    assert.ok(known.length >= 17)
    assert.deepEqual(inBinary.rows, inText.rows)

    if (!HAS_PG)
      return console.log('# not compared with pg: `npm ci --prefix bench/rivals` installs it')
    const theirs = await readByPg('select * from random_values order by id')
    for (let i = 0; i < ROWS; i++) {
      for (const [key, value] of Object.entries(theirs[i]!)) {
        const mine = found.rows[i]![key]
        if (Array.isArray(value)) assert.deepEqual(mine, withoutInvalid(value, mine as unknown[]))
        else if (isInvalid(value)) assert.match(mine as string, /^\d{6}-/)
        else assert.deepEqual(mine, value, `${key} of row ${i}`)
      }
    }
  })

  randomTest('of float4 are the same in binary, powers of two and denormals too', {}, random => {
    const values: number[] = []
    for (let power = -149; power < 128; power++)
      for (const factor of [1, 1 - 2 ** -24, 1 + 2 ** -23])
        values.push(Math.fround(2 ** power * factor))
    for (let i = 0; i < (FULL ? 300_000 : 20_000); i++) values.push(float32(random))
    const finite = values.filter(Number.isFinite)
    const sql = `select v::float4 as v from unnest('{${finite.join(',')}}'::float8[]) v`
    const inText = textRows(pq, sql).rows
    assert.equal(inText.length, finite.length)
    assert.deepEqual(binaryRows(pq, sql).rows, inText)
    const rounded = inText.map(({ v }) => Math.fround(v as number))
    assert.deepEqual(rounded, finite)
  })

  randomTest('of float8 are exactly the nearest to their decimals', {}, random => {
    const texts = Array.from({ length: FULL ? 300_000 : 20_000 }, () => randomDecimal(random))
    const [row] = textRows(pq, `select '{${texts.join(',')}}'::float8[] as v`).rows
    assert.deepEqual(row!['v'], texts.map(Number))
  })
})

describe('a value given as a parameter comes back', () => {
  const VALUES: Record<string, (random: Random) => unknown> = {
    bool: random => random.chance(0.5),
    int4: random => random.next() | 0,
    int8: random => asNumberOrBigint(randomInt8(random)),
    float8: float64,
    text: randomText,
    bytea: random => random.bytes(random.below(60)),
    // A parameter that is a string, an array or null is no JSON text: only objects go as JSON by themselves.
    jsonb: random => ({ value: randomJson(random, 3) }),
    timestamp: randomWallClock,
    timestamptz: randomDate,
  }
  for (const [type, draw] of Object.entries(VALUES)) {
    randomTest(`as it was: ${type}, and arrays of it`, {}, random => {
      for (let i = 0; i < (FULL ? 2_000 : 60); i++) {
        const one = draw(random)
        const length = random.below(4)
        const list = Array.from({ length }, () => (random.chance(0.2) ? null : draw(random)))
        const nested = Array.from({ length: 2 }, () =>
          Array.from({ length: 2 }, () => draw(random)),
        )
        const sql = `select $1::${type} as one, $2::${type}[] as list, $3::${type}[] as nested`
        const { rows } = textRows(pq, sql, toParameters([one, list, nested]))
        assert.deepEqual(rows, [{ one, list, nested }])
      }
    })
  }
})

test('the seed is told', () => assert.ok(Number.isInteger(SEED)))

/** Rows as `pg` reads them, with its parser replaced where Hearth differs on purpose. */
async function readByPg(sql: string): Promise<Record<string, unknown>[]> {
  const pg = createRequire(RIVALS)('pg')
  const typed = (name: string) => PG_TYPES.find(type => type.name === name)!
  const texts: (text: string) => (string | null)[] = pg.types.getTypeParser(typed('text').arrayOid)
  const own = new Map<number, (text: string) => unknown>()
  own.set(typed('int8').oid, asNumberOrBigint)
  own.set(typed('int8').arrayOid, text => deepMap(texts(text), asNumberOrBigint))
  for (const name of ['date', 'interval']) own.set(typed(name).oid, text => text)
  const asTexts = ['date', 'interval', 'numeric', 'name', 'inet', 'money', 'time', 'int4range']
  for (const name of asTexts) own.set(typed(name).arrayOid, texts)
  const client = new pg.Client({
    connectionString: url,
    types: { getTypeParser: (oid: number) => own.get(oid) ?? pg.types.getTypeParser(oid, 'text') },
  })
  await client.connect()
  const { rows } = await client.query(sql)
  await client.end()
  return rows
}

function deepMap(values: unknown[], map: (text: string) => unknown): unknown[] {
  return values.map(value =>
    Array.isArray(value) ? deepMap(value, map) : value === null ? null : map(value as string),
  )
}

const isInvalid = (value: unknown): boolean =>
  value instanceof Date && Number.isNaN(value.getTime())

/** Their array, with Hearth's text where pg has an invalid Date. */
function withoutInvalid(theirs: unknown[], mine: unknown[]): unknown[] {
  return theirs.map((value, i) => {
    if (Array.isArray(value)) return withoutInvalid(value, mine[i] as unknown[])
    if (!isInvalid(value)) return value
    assert.match(mine[i] as string, /^\d{6}-/)
    return mine[i]
  })
}

function asNumberOrBigint(text: string): number | bigint {
  return Number.isSafeInteger(Number(text)) ? Number(text) : BigInt(text)
}

function digits(random: Random, count: number): string {
  return Array.from({ length: count }, () => random.below(10)).join('')
}

const INT8_EDGES = [
  2n ** 53n,
  -(2n ** 53n),
  2n ** 63n - 1n,
  -(2n ** 63n),
  2n ** 32n,
  -(2n ** 31n),
  0n,
]

function randomInt8(random: Random): string {
  if (random.chance(0.5)) return random.bytes(8).readBigInt64BE().toString()
  const near = random.pick(INT8_EDGES) + BigInt(random.between(-2, 2))
  return BigInt.asIntN(64, near).toString()
}

function float32(random: Random): number {
  const value = random.bytes(4).readFloatBE()
  return Number.isFinite(value) ? value : random.between(-1e6, 1e6) / 64
}

function float64(random: Random): number {
  const value = random.bytes(8).readDoubleBE()
  if (Number.isFinite(value) && random.chance(0.5)) return value
  return (random.between(-1e6, 1e6) / 1000) * 10 ** random.between(-6, 6)
}

/** Decimals of all lengths, many of them half-way between two floats or short. */
function randomDecimal(random: Random): string {
  const whole = digits(random, random.between(1, 20))
  const fraction = random.chance(0.7) ? `.${digits(random, random.between(1, 20))}` : ''
  const exponent = random.chance(0.4) ? `e${random.between(-40, 40)}` : ''
  const halfway = String((2n ** 53n + BigInt(random.next())) * 2n + 1n)
  return random.pick(['', '-']) + (random.chance(0.2) ? halfway : whole + fraction) + exponent
}

const ALPHABET = [...`aZ0 "'\\{}(),;:[]=\n\té€🏠%`, 'NULL', 'null', '\\x', '']

function randomText(random: Random): string {
  return Array.from({ length: random.below(30) }, () => random.pick(ALPHABET)).join('')
}

function randomJson(random: Random, depth: number): unknown {
  const kind = random.below(depth === 0 ? 4 : 6)
  if (kind === 0) return randomText(random)
  if (kind === 1) return random.between(-1e6, 1e6) / 8
  if (kind === 2) return random.chance(0.5)
  if (kind === 3) return null
  const inner = Array.from({ length: random.below(4) }, () => randomJson(random, depth - 1))
  return kind === 4 ? inner : Object.fromEntries(inner.map((value, i) => [`k${i}`, value]))
}

/** A date and a time with microseconds, from 4000 BC to the year 294275; not of the years 1 BC to 99, of which pg makes 19xx
 *  on its way, and an hour off where summer time began in that year (26.result.types has some). */
function randomMoment(random: Random): string {
  const span = random.pick([
    [100, 4000],
    [100, 150],
    [1900, 2100],
    [9990, 10_010],
    [100, 294_275],
  ] as const)
  const isBeforeChrist = span[1] === 4000 && random.chance(0.5)
  const two = (low: number, high: number) => String(random.between(low, high)).padStart(2, '0')
  const year = String(random.between(span[0], span[1])).padStart(4, '0')
  const fraction = random.chance(0.5) ? `.${digits(random, random.between(1, 6))}` : ''
  const time = `${two(0, 23)}:${two(0, 59)}:${two(0, 59)}${fraction}`
  return `${year}-${two(1, 12)}-${two(1, 28)} ${time}${isBeforeChrist ? ' BC' : ''}`
}

/** From 1970: before their zones had whole minutes, dates are written some seconds off (parameters.ts). */
function randomDate(random: Random): Date {
  return new Date(random.below(4e12))
}

/** Not in the hour that comes twice when summer ends: of its two moments a wall clock means the first. */
function randomWallClock(random: Random): Date {
  const date = randomDate(random)
  const wallClock = [date.getHours(), date.getMinutes(), date.getSeconds(), date.getMilliseconds()]
  const day = [date.getFullYear(), date.getMonth(), date.getDate()] as const
  return new Date(...day, ...wallClock).getTime() === date.getTime()
    ? date
    : randomWallClock(random)
}

function randomArray(random: Random, words: (random: Random) => string): string {
  const element = (): string =>
    random.chance(0.15) ? 'NULL' : `"${words(random).replace(/[\\"]/g, '\\$&')}"`
  const list = (dimensions: number, lengths: number[]): string => {
    if (dimensions === 0) return element()
    const inner = Array.from({ length: lengths[dimensions]! }, () => list(dimensions - 1, lengths))
    return `{${inner.join(',')}}`
  }
  if (random.chance(0.1)) return '{}'
  const dimensions = random.chance(0.6) ? 1 : random.between(2, 6)
  const length = dimensions < 4 ? 3 : 1
  const lengths = Array.from({ length: 7 }, () => random.between(1, length))
  const literal = list(dimensions, lengths)
  if (dimensions > 1 || random.chance(0.7)) return literal
  const low = random.between(-3, 3)
  return `[${low}:${low + lengths[1]! - 1}]=${literal}`
}
