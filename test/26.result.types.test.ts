/** 26: what each type of Postgres comes as through $encodeResult and the reader of ROWS, as text and in binary.
 *  Owns:   one server, one connection.   Thread: main of a test process.
 *  Holds:  expected values are written out, or asked of Postgres itself; a value is the same in both forms.
 *  Runs:   beside others, since no figure of it is near its bound. */

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { inspect } from 'node:util'
import { PG_TYPES } from '../engine/protocol/pg_types.ts'
import { type Rows, readRows } from '../engine/protocol/rows.ts'
import { binaryRows, isBinaryKnown, lastRows, textRows } from './helpers/encoded_rows.ts'
import { PQ, type Pq } from './helpers/native_clients.ts'
import { sharedPostgres } from './helpers/postgres.ts'

// Half an hour off, with summer time: what is local and what is not cannot be mixed up unseen.
process.env['TZ'] = 'America/St_Johns'

let pq: Pq

before(async () => {
  const { url } = await sharedPostgres()
  pq = new PQ()
  pq.connectSync(url)
  pq.exec(`create type mood as enum ('calm', 'loud')`)
  pq.exec('create domain percent as int check (value between 0 and 100)')
  pq.exec('create type pair as (a int, b text)')
})

after(() => pq.finish())

const local = (
  year: number,
  ...rest: [number, number, number?, number?, number?, number?]
): Date => {
  const [month, day, hour = 0, minute = 0, second = 0, ms = 0] = rest
  const date = new Date(2000, 0, 1)
  date.setFullYear(year, month - 1, day)
  date.setHours(hour, minute, second, ms)
  return date
}

const MATRIX: [sql: string, expected: unknown][] = [
  ['true', true],
  ['false', false],
  ['null::bool', null],
  ...[0, 1, -1, 31, -32, -33, 127, 128, -128, -129, 255, 256, 32767, -32768].map(
    (value): [string, unknown] => [`'${value}'::int2`, value],
  ),
  ...[65535, 65536, -32769, 2147483647, -2147483648].map((value): [string, unknown] => [
    `'${value}'::int4`,
    value,
  ]),
  [`'0'::oid`, 0],
  [`'4294967295'::oid`, 4294967295],
  [`'2147483648'::int8`, 2147483648],
  [`'4294967296'::int8`, 4294967296],
  [`'-2147483649'::int8`, -2147483649],
  [`'9007199254740991'::int8`, Number.MAX_SAFE_INTEGER],
  [`'-9007199254740991'::int8`, Number.MIN_SAFE_INTEGER],
  [`'9007199254740992'::int8`, 9007199254740992n],
  [`'-9007199254740992'::int8`, -9007199254740992n],
  [`'9007199254740993'::int8`, 9007199254740993n],
  [`'9223372036854775807'::int8`, 9223372036854775807n],
  [`'-9223372036854775808'::int8`, -9223372036854775808n],
  ['count(*)', 1],
  [`'1.5'::float4`, 1.5],
  [`'0.1'::float4`, 0.1],
  [`'16777217'::float4`, 16777216],
  [`'3.4028235e38'::float4`, 3.4028235e38],
  [`'1e-45'::float4`, 1e-45],
  [`'-0'::float4`, -0],
  [`'NaN'::float4`, Number.NaN],
  ['pi()', Math.PI],
  [`'0.1'::float8`, 0.1],
  [`'5e-324'::float8`, 5e-324],
  [`'1.7976931348623157e308'::float8`, Number.MAX_VALUE],
  [`'9007199254740993'::float8`, 9007199254740992],
  [`'1e22'::float8`, 1e22],
  [`'1e23'::float8`, 1e23],
  [`'-0'::float8`, -0],
  [`'NaN'::float8`, Number.NaN],
  [`'Infinity'::float8`, Infinity],
  [`'-Infinity'::float8`, -Infinity],
  [`'0.1000000000000000000001'::numeric`, '0.1000000000000000000001'],
  [`('1' || repeat('0', 300))::numeric`, `1${'0'.repeat(300)}`],
  [`'NaN'::numeric`, 'NaN'],
  [`''::text`, ''],
  [`'Zürich 🏠'::text`, 'Zürich 🏠'],
  [`'Zür'::text`, 'Zür'],
  [`repeat('x', 70000)`, 'x'.repeat(70_000)],
  [`repeat('é', 300)`, 'é'.repeat(300)],
  [`'ab '::char(4)`, 'ab  '],
  [`'a'::"char"`, 'a'],
  [`'name'::name`, 'name'],
  [`'\\x00ff10'::bytea`, Buffer.from([0, 255, 16])],
  [`''::bytea`, Buffer.alloc(0)],
  [`decode(repeat('ab', 70000), 'hex')`, Buffer.alloc(70_000, 0xab)],
  [`'{"a":[1,null,"x"]}'::json`, { a: [1, null, 'x'] }],
  [`'{"b":1.5}'::jsonb`, { b: 1.5 }],
  [`'null'::jsonb`, null],
  [`'"text"'::jsonb`, 'text'],
  [`'7'::json`, 7],
  [`'true'::jsonb`, true],
  [`'[]'::jsonb`, []],
  [`'5f0c1c2e-0000-4000-8000-00000000000f'::uuid`, '5f0c1c2e-0000-4000-8000-00000000000f'],
  [`'2016-01-11'::date`, '2016-01-11'],
  [`'17:30:00.25'::time`, '17:30:00.25'],
  [`'1 day 02:03:04'::interval`, '1 day 02:03:04'],
  [`'2016-01-11 17:30:00.123456+01'::timestamptz`, new Date('2016-01-11T16:30:00.123Z')],
  [`'2016-07-11 17:30:00.1+05:45'::timestamptz`, new Date('2016-07-11T11:45:00.100Z')],
  [`'1969-12-31 23:59:59.9999+00'::timestamptz`, new Date(-1)],
  [`'1969-12-31 23:59:59.000001+00'::timestamptz`, new Date(-1000)],
  [`'1890-01-01 00:00:00.5+00'::timestamptz`, new Date('1890-01-01T00:00:00.500Z')],
  [`'0099-03-01 00:00:00+00'::timestamptz`, new Date('0099-03-01T00:00:00Z')],
  [`'0001-01-01 00:00:00+00'::timestamptz`, new Date('0001-01-01T00:00:00Z')],
  [`'0001-02-29 00:00:00+00 BC'::timestamptz`, new Date('0000-02-29T00:00:00Z')],
  [`'0044-03-15 12:00:00+00 BC'::timestamptz`, new Date('-000043-03-15T12:00:00Z')],
  [`'4713-01-01 00:00:00+00 BC'::timestamptz`, new Date('-004712-01-01T00:00:00Z')],
  [`'12016-01-11 00:00:00+00'::timestamptz`, new Date('+012016-01-11T00:00:00Z')],
  [`'275760-09-13 00:00:00+00'::timestamptz`, new Date(8.64e15)],
  [`'infinity'::timestamptz`, Infinity],
  [`'-infinity'::timestamptz`, -Infinity],
  [`'2016-01-11 17:30:00'::timestamp`, local(2016, 1, 11, 17, 30)],
  [`'2016-07-11 17:30:00.123999'::timestamp`, local(2016, 7, 11, 17, 30, 0, 123)],
  [`'1969-12-31 23:59:59.9999'::timestamp`, local(1969, 12, 31, 23, 59, 59, 999)],
  [`'0050-02-28 01:02:03'::timestamp`, local(50, 2, 28, 1, 2, 3)],
  [`'0004-02-29 01:02:03'::timestamp`, local(4, 2, 29, 1, 2, 3)],
  [`'0044-03-15 12:00:00 BC'::timestamp`, local(-43, 3, 15, 12)],
  [`'294276-01-01 12:30:00.25'::timestamp`, '294276-01-01 12:30:00.25'],
  [`'infinity'::timestamp`, Infinity],
  [`'(1,2)'::point`, '(1,2)'],
  [`'10.0.0.1'::inet`, '10.0.0.1'],
  [`'12.50'::money`, '$12.50'],
  [`'[1,5)'::int4range`, '[1,5)'],
  [`'calm'::mood`, 'calm'],
  ['40::percent', 40],
  [`row(1,'x')::pair`, '(1,x)'],
  [`row(1,'x')`, '(1,x)'],
  [`array['loud'::mood]`, '{loud}'],
  [`'{(1,2),(3,4);(0,0),(1,1)}'::box[]`, '{(3,4),(1,2);(1,1),(0,0)}'],
  [`array[1,null,3]`, [1, null, 3]],
  [
    `array[[1,2],[3,4]]`,
    [
      [1, 2],
      [3, 4],
    ],
  ],
  [`array[[[[[[1,null]]]]]]`, [[[[[[1, null]]]]]]],
  [`'{}'::int[]`, []],
  [`'[0:1]={7,8}'::int[]`, [7, 8]],
  [
    `'[-1:0][2:3]={{1,2},{3,4}}'::int[]`,
    [
      [1, 2],
      [3, 4],
    ],
  ],
  [
    `array(select i from generate_series(1, 70000) i)`,
    Array.from({ length: 70_000 }, (_, i) => i + 1),
  ],
  [
    `array['a,b','"q"','back\\slash','{}','NULL','null',null,'',' ','é','[0:1]={1}']`,
    ['a,b', '"q"', 'back\\slash', '{}', 'NULL', 'null', null, '', ' ', 'é', '[0:1]={1}'],
  ],
  [`array['9007199254740993'::int8, 1]`, [9007199254740993n, 1]],
  [`array[true,false,null]`, [true, false, null]],
  [`array['1.10'::numeric]`, ['1.10']],
  [`array['NaN'::float8, '-Infinity', 0.1, '-0']`, [Number.NaN, -Infinity, 0.1, -0]],
  [`array['\\xff'::bytea, '', null]`, [Buffer.from([255]), Buffer.alloc(0), null]],
  [`array['{"a":"x,y\\"z"}'::jsonb, 'null', null]`, [{ a: 'x,y"z' }, null, null]],
  [`array['[1,2]'::json]`, [[1, 2]]],
  [
    `array['2020-02-29 00:00:00+00'::timestamptz, 'infinity']`,
    [new Date('2020-02-29T00:00:00Z'), Infinity],
  ],
  [`array['2020-02-29 01:00:00'::timestamp]`, [local(2020, 2, 29, 1)]],
  [`array['2020-02-29'::date]`, ['2020-02-29']],
  [`array['5f0c1c2e-0000-4000-8000-00000000000f'::uuid]`, ['5f0c1c2e-0000-4000-8000-00000000000f']],
  [`array['1 day'::interval]`, ['1 day']],
  [`array['a'::"char"]`, ['a']],
]

describe('a value', () => {
  for (const [sql, expected] of MATRIX) {
    const shown = inspect(expected, {
      breakLength: Infinity,
      compact: true,
      maxArrayLength: 12,
    }).slice(0, 60)
    test(`${sql} is ${shown}`, () => {
      const rows = textRows(pq, `select ${sql} as v`)
      assert.deepEqual(rows.rows, [{ v: expected }])
      if (!isBinaryKnown(rows)) return
      assert.deepEqual(binaryRows(pq, `select ${sql} as v`).rows, [{ v: expected }])
    })
  }

  test('is the same between others, whatever came before it', () => {
    const usable = MATRIX.filter(([sql]) => sql !== 'count(*)')
    const list = usable.map(([sql], i) => `${sql} as c${i}`)
    const expected = Object.fromEntries(usable.map(([, value], i) => [`c${i}`, value]))
    const { rows } = textRows(pq, `select ${list.join(', ')} from generate_series(1, 3)`)
    assert.deepEqual(rows, [expected, expected, expected])
    assert.deepEqual(Object.keys(rows[0]!), Object.keys(expected))
  })

  test('past what a Date holds is text, in binary as the server writes it in UTC', () => {
    pq.exec(`set timezone = 'UTC'`)
    const sql = `select '294276-12-31 23:59:59.999999+00'::timestamptz a, '275760-09-13 00:00:00.001+00'::timestamptz b,
      '275760-09-12 00:00:00.001'::timestamp c, '294276-12-31 23:59:00'::timestamp d`
    const expected = {
      a: '294276-12-31 23:59:59.999999+00',
      b: '275760-09-13 00:00:00.001+00',
      c: '275760-09-12 00:00:00.001',
      d: '294276-12-31 23:59:00',
    }
    assert.deepEqual(textRows(pq, sql).rows, [expected])
    assert.deepEqual(binaryRows(pq, sql).rows, [expected])
    pq.exec('reset timezone')
  })

  test('that depends on the server’s settings is read as those of ISO and hex, or is its text', () => {
    const sql = `select '\\x0001ff5c41'::bytea as b, array['\\x005c22'::bytea] as bs,
      '2016-01-11 00:00:00+00'::timestamptz as at, '2016-01-11 00:00:00'::timestamp as wall`
    const bytes = { b: Buffer.from([0, 1, 255, 92, 65]), bs: [Buffer.from([0, 92, 34])] }
    const moment = new Date('2016-01-11T00:00:00Z')
    const zones = ['UTC', 'Asia/Kathmandu', 'America/St_Johns']
    for (const zone of zones) {
      pq.exec(`set timezone = '${zone}'; set bytea_output = 'escape'`)
      const expected = { ...bytes, at: moment, wall: local(2016, 1, 11) }
      assert.deepEqual(textRows(pq, sql).rows, [expected])
    }
    pq.exec(`set timezone = 'UTC'; set datestyle = 'SQL, DMY'`)
    const styled = { at: '11/01/2016 00:00:00 UTC', wall: '11/01/2016 00:00:00' }
    assert.deepEqual(textRows(pq, sql).rows, [{ ...bytes, ...styled }])
    pq.exec('set datestyle = German')
    assert.equal(textRows(pq, sql).rows[0]!['at'], '11.01.2016 00:00:00 UTC')
    pq.exec('set datestyle = Postgres')
    assert.equal(textRows(pq, sql).rows[0]!['wall'], 'Mon 11 Jan 00:00:00 2016')
    pq.exec('reset all')
  })

  test('has an offset with seconds before there were time zones', () => {
    pq.exec(`set timezone = 'Europe/Berlin'`)
    const sql = `select '1880-06-01 00:00:00.75+00'::timestamptz as at`
    assert.deepEqual(textRows(pq, sql).rows, [{ at: new Date('1880-06-01T00:00:00.750Z') }])
    pq.exec('reset timezone')
  })
})

describe('a result', () => {
  const result = (sql: string): Omit<Rows, 'source'> => {
    const { source, ...rest } = textRows(pq, sql)
    assert.equal(source, 'primary')
    return rest
  }

  test('has its rows, count, fields and command', () => {
    assert.deepEqual(result(`select 1 as a, 'x' as b union all select 2, null order by a`), {
      rows: [
        { a: 1, b: 'x' },
        { a: 2, b: null },
      ],
      rowCount: 2,
      fields: [
        { name: 'a', dataTypeId: 23 },
        { name: 'b', dataTypeId: 25 },
      ],
      command: 'SELECT',
    })
  })

  test('without columns still has its rows, and one without rows its fields', () => {
    const empty = { fields: [], command: 'SELECT' }
    assert.deepEqual(result('select'), { ...empty, rows: [{}], rowCount: 1 })
    assert.deepEqual(result('select from generate_series(1, 20)').rows.length, 20)
    assert.deepEqual(result('select where false'), { ...empty, rows: [], rowCount: 0 })
    assert.equal(result('select 1 as a where false').fields.length, 1)
  })

  test('of a command without rows has its count where there is one', () => {
    const none = { rows: [], fields: [] }
    const created = result('create temp table counted (id int)')
    assert.deepEqual(created, { ...none, command: 'CREATE', rowCount: null })
    const inserted = result('insert into counted select generate_series(1, 300)')
    assert.deepEqual(inserted, { ...none, command: 'INSERT', rowCount: 300 })
    const updated = result('update counted set id = -id where id < 3 returning id')
    assert.deepEqual([updated.command, updated.rowCount, updated.rows.length], ['UPDATE', 2, 2])
    assert.equal(result('delete from counted where id = 1000').rowCount, 0)
    assert.deepEqual(result('-- nothing'), { ...none, command: '', rowCount: null })
  })

  test('keeps the later of two columns with one name, and survives a column named __proto__', () => {
    assert.deepEqual(result('select 1 as a, 2 as b, 3 as a').rows, [{ a: 3, b: 2 }])
    const { rows, fields } = result(`select '{"x":1}'::jsonb as "__proto__", 3 as b`)
    assert.equal(fields[0]!.name, '__proto__')
    assert.equal(Object.getPrototypeOf(rows[0]), Object.prototype)
    assert.deepEqual(rows[0], { __proto_: { x: 1 }, b: 3 })
  })

  test('shares its fields, frozen, with others of the same columns', () => {
    const first = result('select 1 as a')
    assert.equal(result('select 2 as a').fields, first.fields)
    assert.ok(Object.isFrozen(first.fields) && Object.isFrozen(first.fields[0]))
    assert.notEqual(result('select 2::int8 as a').fields, first.fields)
  })

  test('of 1 600 columns and of 50 000 rows is whole', () => {
    const columns = Array.from({ length: 1600 }, (_, i) => `${i} as column_${i}`)
    const wide = result(`select ${columns.join(', ')}`)
    assert.equal(wide.rows[0]!['column_1599'], 1599)
    const long = result('select i, i * 2 as twice from generate_series(1, 50000) i')
    assert.deepEqual([long.rows.length, long.rows[49_999]], [50_000, { i: 50_000, twice: 100_000 }])
  })

  test('fits exactly the bytes it has, and one less is too few', () => {
    const sql = `select i, repeat('y', i) as t, array['a"b', null] as a, '\\x00ff'::bytea as b from generate_series(1, 300) i`
    pq.exec(sql)
    const body = pq.$encodeResult('primary', 1_000_000)!
    assert.deepEqual(pq.$encodeResult('primary', body.length), body)
    for (const bytes of [body.length - 1, body.length >> 1, 100, 8, 7, 1, 0, -1, Number.NaN])
      assert.equal(pq.$encodeResult('primary', bytes), undefined)
    assert.deepEqual(readRows(body, 0, body.length), lastRows(pq))
  })

  test('of a connection that has none is empty', () => {
    const unused = new PQ()
    const body = unused.$encodeResult('primary', 1_000)!
    const empty = { rows: [], rowCount: null, fields: [], command: '', source: 'primary' }
    assert.deepEqual(readRows(body, 0, body.length), empty)
    assert.throws(() => (unused as unknown as Record<string, () => void>)['$encodeResult']!())
  })
})

test('the table of types has the oids of this server', () => {
  const { rows } = textRows(
    pq,
    `select typname as name, oid, typarray as "arrayOid", typdelim::text as delimiter from pg_type
     where typnamespace = 'pg_catalog'::regnamespace`,
  )
  const byName = new Map(rows.map(row => [row['name'], row]))
  for (const { name, oid, arrayOid } of PG_TYPES)
    assert.deepEqual(byName.get(name), { name, oid, arrayOid, delimiter: ',' })
})
