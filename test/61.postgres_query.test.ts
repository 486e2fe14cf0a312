/** Postgres queries: results, types both ways, parameters and errors, against a real server.
 *  Owns:   one server.   Thread: main of a test process.   Expected values are written out, or asked of Postgres itself.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { inspect } from 'node:util'
import type { HearthError } from '../engine/errors.ts'
import { RESULT_BYTES_MAX } from '../workers/postgres/database.ts'
import { sharedPostgres, type TestPostgres } from './helpers/postgres.ts'
import { openPool } from './helpers/postgres_pool.ts'
import { Random, SEED } from './helpers/random.ts'

let postgres: TestPostgres

before(async () => {
  console.log(`# HEARTH_TEST_SEED=${SEED}`)
  postgres = await sharedPostgres()
})

describe('a result', () => {
  test('has rows as objects, a count, fields with type oids and the command', async t => {
    const { query } = openPool(t, postgres.url)
    assert.deepEqual(await query(`select 1 as a, 'x' as b union all select 2, null order by a`), {
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
      source: 'primary',
    })
  })

  test('counts what a write changed, and has no count where Postgres gives none', async t => {
    const { query } = openPool(t, postgres.url)
    const created = await query('create table counted (id int primary key, v text)')
    assert.deepEqual([created.command, created.rowCount, created.rows], ['CREATE', null, []])
    const inserted = await query(`insert into counted select i, 'v' from generate_series(1, 5) i`)
    assert.deepEqual([inserted.command, inserted.rowCount], ['INSERT', 5])
    const updated = await query('update counted set v = $1 where id > $2 returning id', ['w', 3])
    assert.deepEqual([updated.command, updated.rowCount], ['UPDATE', 2])
    assert.deepEqual(updated.rows.map(row => row['id']).sort(), [4, 5])
    assert.equal((await query('delete from counted where id = 99')).rowCount, 0)
  })

  test('without rows still has its fields; an empty statement has nothing', async t => {
    const { query } = openPool(t, postgres.url)
    const none = await query('select 1 as a where false')
    assert.deepEqual([none.rows, none.rowCount, none.fields.length], [[], 0, 1])
    assert.deepEqual(await query('-- nothing'), {
      rows: [],
      rowCount: null,
      fields: [],
      command: '',
      source: 'primary',
    })
  })

  test('keeps the later of two columns with one name, and survives a column named __proto__', async t => {
    const { query } = openPool(t, postgres.url)
    assert.deepEqual((await query('select 1 as a, 2 as a')).rows, [{ a: 2 }])
    const { rows, fields } = await query(`select '{"x":1}'::jsonb as "__proto__", 3 as b`)
    assert.equal(fields[0]!.name, '__proto__')
    assert.equal(Object.getPrototypeOf(rows[0]), Object.prototype)
    assert.deepEqual(rows[0], { __proto_: { x: 1 }, b: 3 })
  })

  test('of 50 000 rows is whole', async t => {
    const { query } = openPool(t, postgres.url)
    const { rows } = await query('select i, i * 2 as twice from generate_series(1, 50000) i')
    assert.equal(rows.length, 50_000)
    assert.deepEqual(rows[49_999], { i: 50_000, twice: 100_000 })
  })

  test('larger than a frame is refused, and the connection goes on', async t => {
    const { query, value, pool } = openPool(t, postgres.url, { size: 1, overflow: 0 })
    const megabytes = Math.ceil((RESULT_BYTES_MAX * 2) / 2 ** 20) + 1
    await assert.rejects(
      query(`select repeat('x', 1048576) as v from generate_series(1, ${megabytes})`),
      (error: HearthError) => error.code === 'VALUE_TOO_LARGE' && /stream it/.test(error.message),
    )
    assert.equal(await value('select 1'), 1)
    assert.equal(pool.stats().connects, 1)
  })
})

describe('types', () => {
  const MATRIX: [sql: string, expected: unknown][] = [
    [`'-32768'::int2`, -32768],
    [`'2147483647'::int4`, 2147483647],
    [`'9007199254740991'::int8`, Number.MAX_SAFE_INTEGER],
    [`'9007199254740992'::int8`, 9007199254740992n],
    [`'-9223372036854775808'::int8`, -9223372036854775808n],
    ['count(*)', 1],
    [`'4294967295'::oid`, 4294967295],
    [`'1.5'::float4`, 1.5],
    ['pi()', Math.PI],
    [`'NaN'::float8`, Number.NaN],
    [`'-Infinity'::float8`, -Infinity],
    [`'0.1000000000000000000001'::numeric`, '0.1000000000000000000001'],
    [`'NaN'::numeric`, 'NaN'],
    ['true', true],
    ['false', false],
    ['null::int', null],
    [`''::text`, ''],
    [`'Zürich 🏠'::text`, 'Zürich 🏠'],
    [`'ab '::char(4)`, 'ab  '],
    [`'name'::name`, 'name'],
    [`'\\x00ff10'::bytea`, Buffer.from([0, 255, 16])],
    [`''::bytea`, Buffer.alloc(0)],
    [`'{"a":[1,null,"x"]}'::json`, { a: [1, null, 'x'] }],
    [`'{"b":1.5}'::jsonb`, { b: 1.5 }],
    [`'null'::jsonb`, null],
    [`'"text"'::jsonb`, 'text'],
    [`'5f0c1c2e-0000-4000-8000-000000000001'::uuid`, '5f0c1c2e-0000-4000-8000-000000000001'],
    [`'2016-01-11'::date`, '2016-01-11'],
    [`'17:30:00.25'::time`, '17:30:00.25'],
    [`'1 day 02:03:04'::interval`, '1 day 02:03:04'],
    [`'2016-01-11 17:30:00.123456+01'::timestamptz`, new Date('2016-01-11T16:30:00.123Z')],
    [`'2016-01-11 17:30:00'::timestamp`, new Date(2016, 0, 11, 17, 30)],
    [`'0099-03-01 00:00:00+00'::timestamptz`, new Date('0099-03-01T00:00:00Z')],
    [`'0044-03-15 12:00:00+00 BC'::timestamptz`, new Date('-000043-03-15T12:00:00Z')],
    [`'infinity'::timestamptz`, Infinity],
    [`'(1,2)'::point`, '(1,2)'],
    [`'10.0.0.1'::inet`, '10.0.0.1'],
    [`'[1,5)'::int4range`, '[1,5)'],
    [`array[1,null,3]`, [1, null, 3]],
    [
      `array[[1,2],[3,4]]`,
      [
        [1, 2],
        [3, 4],
      ],
    ],
    [`'{}'::int[]`, []],
    [`'[0:1]={7,8}'::int[]`, [7, 8]],
    [
      `array['a,b','"q"','back\\slash','{}','NULL',null,'']`,
      ['a,b', '"q"', 'back\\slash', '{}', 'NULL', null, ''],
    ],
    [`array['9007199254740993'::int8, 1]`, [9007199254740993n, 1]],
    [`array[true,false]`, [true, false]],
    [`array['1.10'::numeric]`, ['1.10']],
    [`array['\\xff'::bytea]`, [Buffer.from([255])]],
    [`array['{"a":"x,y"}'::jsonb]`, [{ a: 'x,y' }]],
    [`array['2020-02-29 00:00:00+00'::timestamptz]`, [new Date('2020-02-29T00:00:00Z')]],
    [`array['2020-02-29'::date]`, ['2020-02-29']],
    [`row(1,'x')`, '(1,x)'],
  ]
  for (const [sql, expected] of MATRIX) {
    test(`${sql} is ${inspect(expected)}`, async t => {
      const { query } = openPool(t, postgres.url, { min: 0 })
      assert.deepEqual((await query(`select ${sql} as v`)).rows[0]!['v'], expected)
    })
  }

  test('an enum, a domain and a composite of the database come as their text', async t => {
    const { query } = openPool(t, postgres.url)
    await query(`create type mood as enum ('calm', 'loud')`)
    await query('create domain percent as int check (value between 0 and 100)')
    const { rows } = await query(
      `select 'calm'::mood as m, 40::percent as p, array['loud'::mood] as a`,
    )
    assert.deepEqual(rows[0], { m: 'calm', p: 40, a: '{loud}' })
  })

  test('times read the same whatever DateStyle and bytea_output the database has', async t => {
    const url = await postgres.createDatabase('styled')
    const admin = await postgres.admin()
    await admin.query(`alter database styled set datestyle = 'SQL, DMY'; alter database styled set bytea_output = 'escape';
      alter database styled set intervalstyle = 'iso_8601'; alter database styled set timezone = 'Asia/Kathmandu'`)
    const { query } = openPool(t, url)
    const { rows } = await query(
      `select '2016-01-11 00:00:00+00'::timestamptz as at, '\\x0001'::bytea as b, '1 day'::interval as i, '02/01/2020'::date as d`,
    )
    const expected = {
      at: new Date('2016-01-11T00:00:00Z'),
      b: Buffer.from([0, 1]),
      i: '1 day',
      d: '2020-01-02',
    }
    assert.deepEqual(rows[0], expected)
  })
})

describe('parameters', () => {
  const ROUND_TRIPS: [type: string, value: unknown, expected?: unknown][] = [
    ['int', 42],
    ['int8', 9007199254740993n],
    ['float8', 0.1],
    ['float8', -Infinity],
    ['bool', true],
    ['text', ''],
    ['text', 'quote \' " \\ {} $1'],
    ['text', null],
    ['text', undefined, null],
    ['bytea', Buffer.from([0, 1, 255])],
    ['bytea', Buffer.alloc(0)],
    ['bytea', new Uint8Array([7, 0]), Buffer.from([7, 0])],
    ['jsonb', { a: [1, { b: null }], text: 'é' }],
    ['timestamptz', new Date('2016-01-11T17:30:00.123Z')],
    ['timestamp', new Date(2016, 5, 11, 17, 30, 0, 5)],
    ['timestamptz', new Date('-000043-03-15T12:00:00Z')],
    ['date', new Date(2016, 0, 31), '2016-01-31'],
    ['int[]', [1, null, 3]],
    ['int[]', []],
    [
      'int[]',
      [
        [1, 2],
        [3, 4],
      ],
    ],
    ['text[]', ['a,b', '"', '\\', '', 'NULL', null, '{x}']],
    ['bytea[]', [Buffer.from([0, 92])]],
    ['timestamptz[]', [new Date('2020-02-29T12:00:00Z')]],
  ]
  for (const [type, value, expected] of ROUND_TRIPS) {
    test(`${type} takes ${inspect(value)}`, async t => {
      const { query } = openPool(t, postgres.url, { min: 0 })
      const { rows } = await query(`select $1::${type} as v`, [value])
      assert.deepEqual(rows[0]!['v'], expected === undefined ? value : expected)
    })
  }

  const REFUSED: [what: string, value: unknown][] = [
    ['text with a zero character', 'a\0b'],
    ['a Map', new Map([[1, 2]])],
    ['a Set', new Set([1])],
    ['an invalid Date', new Date(Number.NaN)],
    [
      'an object that contains itself',
      (() => {
        const self: Record<string, unknown> = {}
        self['self'] = self
        return self
      })(),
    ],
    ['a zero character within an array', ['a\0']],
  ]
  for (const [what, value] of REFUSED) {
    test(`${what} is refused and nothing is sent`, async t => {
      const { query } = openPool(t, postgres.url, { min: 0 })
      await assert.rejects(query('select $1::text', [value]), (error: HearthError) => {
        assert.equal(error.code, 'BAD_REQUEST')
        assert.match(error.message, /\$1/)
        return true
      })
    })
  }

  test('65 536 of them are one too many', async t => {
    const { query } = openPool(t, postgres.url)
    await assert.rejects(query('select 1', new Array(65_536).fill(1)), { code: 'BAD_REQUEST' })
  })

  test('random texts and numbers come back as they went', async t => {
    const { query } = openPool(t, postgres.url)
    const random = new Random(SEED)
    const texts = Array.from({ length: 200 }, () => randomText(random))
    const numbers = Array.from(
      { length: 200 },
      () => random.between(-1e6, 1e6) * 10 ** random.between(-20, 20),
    )
    const { rows } = await query(
      'select $1::text[] as texts, $2::float8[] as numbers, $3::jsonb as json',
      [texts, numbers, { texts, numbers }],
    )
    assert.deepEqual(rows[0], { texts, numbers, json: { texts, numbers } })
    for (const text of texts)
      assert.equal((await query('select $1::text as v', [text])).rows[0]!['v'], text)
  })
})

describe('an error of the server', () => {
  test('carries SQLSTATE, position, and the correlation id', async t => {
    const { query } = openPool(t, postgres.url)
    await assert.rejects(query('select nope from pg_class'), (error: HearthError) => {
      assert.equal(error.code, 'DATABASE')
      assert.equal(error.sqlState, '42703')
      assert.equal(error.position, 8)
      assert.match(error.message, /column "nope" does not exist/)
      assert.match(error.correlationId!, /^test-/)
      assert.equal(error.retryable, false)
      return true
    })
  })

  test('carries detail and hint', async t => {
    const { query } = openPool(t, postgres.url)
    await query('create table uniquely (id int primary key)')
    await query('insert into uniquely values (1)')
    await assert.rejects(query('insert into uniquely values ($1)', [1]), (error: HearthError) => {
      assert.equal(error.sqlState, '23505')
      assert.match(error.detail!, /Key \(id\)=\(1\) already exists/)
      return true
    })
    await assert.rejects(query('select lenght($1::text)', ['x']), (error: HearthError) => {
      assert.equal(error.sqlState, '42883')
      assert.ok(error.hint!.length > 0)
      return true
    })
  })

  const CASES: [what: string, sql: string, params: unknown[], sqlState: string][] = [
    ['a division by zero', 'select 1/0', [], '22012'],
    ['a bad cast of a parameter', 'select $1::int', ['x'], '22P02'],
    ['too few parameters', 'select $1::int + $2::int', [1], '08P01'],
    ['too many parameters', 'select $1::int', [1, 2], '08P01'],
    ['two statements in one', 'select 1; select 2', [], '42601'],
    [
      'an error raised in a function',
      `do $$ begin raise exception 'mine' using errcode = 'HE001'; end $$`,
      [],
      'HE001',
    ],
  ]
  for (const [what, sql, params, sqlState] of CASES) {
    test(`${what} is SQLSTATE ${sqlState}, also when asked again, and the connection goes on`, async t => {
      const { query, value, pool } = openPool(t, postgres.url, { size: 1, overflow: 0, min: 1 })
      for (let again = 0; again < 3; again++) {
        await assert.rejects(query(sql, params), { code: 'DATABASE', sqlState })
      }
      assert.equal(await value('select 1'), 1)
      assert.equal(pool.stats().connects, 1)
    })
  }

  test('a write where only reads are allowed is READ_ONLY', async t => {
    const url = await postgres.createDatabase('readonly')
    await (await postgres.admin()).query(
      'alter database readonly set default_transaction_read_only = on',
    )
    const { query } = openPool(t, url)
    await assert.rejects(query('create table t (a int)'), { code: 'READ_ONLY', sqlState: '25006' })
  })

  test('a statement with a zero character is refused before it is sent', async t => {
    const { query } = openPool(t, postgres.url)
    await assert.rejects(query('select 1\0; drop table x'), { code: 'BAD_REQUEST' })
  })
})

function randomText(random: Random): string {
  return Array.from({ length: random.below(40) }, () => random.pick(ALPHABET)).join('')
}

const ALPHABET = [...`aZ0 "'\\{},\n\té€🏠%;`, '$1', 'NULL']
