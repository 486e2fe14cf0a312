/** 26: whatever bytes a server sends for a value, the encoder makes one value of them: what it says, or its text.
 *  Owns:   a server that answers what it is told to.   Thread: main of a test process.
 *  Holds:  nothing here rests on what Postgres would really send. */

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { PG_TYPES } from '../engine/protocol/pg_types.ts'
import { lastRows } from './helpers/encoded_rows.ts'
import { type FakeColumn, type FakeServer, startFakeServer } from './helpers/fake_server.ts'
import { answered, openPq, type Pq } from './helpers/native_clients.ts'
import { FULL, type Random, randomTest } from './helpers/random.ts'

let fake: FakeServer
let pq: Pq

before(async () => {
  fake = await startFakeServer()
  pq = await openPq(fake.url)
})

after(async () => {
  pq.finish()
  await fake.stop()
})

/** The values that a server's rows are read as, row by row. */
async function read(columns: FakeColumn[], rows: (Buffer | null)[][]): Promise<unknown[][]> {
  fake.answer = { columns, rows }
  assert.ok(pq.sendQuery('whatever'), pq.errorMessage())
  await answered(pq)
  assert.ok(pq.getResult())
  const found = lastRows(pq).rows.map(row => Object.values(row))
  while (pq.getResult());
  return found
}

const oidOf = (name: string): number => {
  const array = name.endsWith('[]')
  const type = PG_TYPES.find(each => each.name === name.replace('[]', ''))!
  return array ? type.arrayOid : type.oid
}

/** Texts of one type, as they are read. */
async function texts(type: string, ...given: string[]): Promise<unknown[]> {
  const rows = given.map(text => [Buffer.from(text)])
  return (await read([{ oid: oidOf(type), format: 0 }], rows)).flat()
}

describe('a text that is not quite of its type comes as it is', () => {
  const CASES: Record<string, string[]> = {
    bool: ['', 'true', 'T', 'tt', '1', ' t'],
    int4: ['', '-', '+1', ' 1', '1 ', '1.0', '1e3', '0x10', '--1', '١'],
    int8: [
      '9223372036854775808',
      '-9223372036854775809',
      '99999999999999999999',
      '1'.repeat(400),
      'é',
    ],
    float8: [
      '',
      '.',
      '-',
      'e5',
      '1e',
      '1e+',
      '1e99999',
      '1.2.3',
      'nan',
      'inf',
      'infinity',
      '0x1p3',
      '1,5',
      ' 1',
      '1 ',
      '1'.repeat(64),
    ],
    bytea: ['\\x0', '\\x0g', '\\xzz', '\\', 'a\\', '\\1', '\\12', '\\400', '\\189', '\\x001'],
    timestamp: [
      '',
      '2016-01-11',
      '2016-01-11 00:00',
      '2016-01-11T00:00:00',
      '2016-01-11 00:00:00+00',
      '2016-01-11 00:00:00.',
      '2016-01-11 00:00:00BC',
      '2016-01-11 00:00:00 BC ',
      '2016-00-11 00:00:00',
      '2016-13-11 00:00:00',
      '2016-01-00 00:00:00',
      '2016-01-32 00:00:00',
      '2016-01-11 25:00:00',
      '2016-01-11 00:60:00',
      '2016-01-11 00:00:61',
      '0000-01-11 00:00:00',
      '-2016-01-11 00:00:00',
      '1234567-01-11 00:00:00',
      '999999-01-11 00:00:00',
      '2016-1-11 00:00:00',
      'Infinity',
      'infinity ',
    ],
    timestamptz: [
      '2016-01-11 00:00:00',
      '2016-01-11 00:00:00+',
      '2016-01-11 00:00:00+0',
      '2016-01-11 00:00:00+0530',
      '2016-01-11 00:00:00+05:',
      '2016-01-11 00:00:00+05:30:',
      '2016-01-11 00:00:00 UTC',
      '2016-01-11 00:00:00+00 BCE',
      '999999-01-11 00:00:00+00',
    ],
    'int4[]': [
      '',
      '{',
      '}',
      '{1',
      '{1,',
      '{1,}',
      '{,1}',
      '{,}',
      '{1}}',
      '{1}x',
      'x{1}',
      '[0:1]',
      '[0:1]=',
      '[0:1={1}',
      '{{1}',
      '{1"2"}',
      '{"1"2}',
      '{"1',
      '{"',
      '{"\\',
      '{\\1}',
      '{{{{{{{1}}}}}}}',
      '1',
      '{1;2}x',
    ],
    'text[]': ['{a{b}', '{a"b}', '{"a"b}', '{a,b', '{"a\\"}', `${'{'.repeat(5000)}`],
  }
  for (const [type, given] of Object.entries(CASES)) {
    test(type, async () => assert.deepEqual(await texts(type, ...given), given))
  }
})

describe('a text that Postgres could have sent otherwise is understood', () => {
  const CASES: [type: string, text: string, expected: unknown][] = [
    ['int8', '-0', 0],
    ['int8', '0000000000000000007', 7],
    ['float8', '-0.0e-5', -0],
    ['float8', '1E5', 1e5],
    ['float8', '.5', 0.5],
    ['float8', '5.', 5],
    ['float8', '+1.5', 1.5],
    ['float8', '1e400', Infinity],
    ['float8', '1e-400', 0],
    ['float8', '123456789012345678901234567890', 1.2345678901234568e29],
    ['bytea', '\\xABcd', Buffer.from([0xab, 0xcd])],
    ['bytea', 'a\\\\b\\000\\377', Buffer.from([97, 92, 98, 0, 255])],
    ['timestamptz', '2016-01-11 00:00:00-00:00:30', new Date('2016-01-11T00:00:30Z')],
    ['timestamptz', '2016-01-11 24:00:00+00', new Date('2016-01-12T00:00:00Z')],
    ['timestamptz', '2016-01-11 23:59:60+00', new Date('2016-01-12T00:00:00Z')],
    ['timestamptz', '2016-01-11 00:00:00.123456789+00', new Date('2016-01-11T00:00:00.123Z')],
    ['int4[]', '{"1",x,"NULL",NULL,null}', [1, 'x', 'NULL', null, 'null']],
    ['int4[]', '[5:5][1:1]={{1}}', [[1]]],
    ['int4[]', '{{},{1,{2}}}', [[], [1, [2]]]],
    ['text[]', '{a b, c ,"\\a","\\\\"}', ['a b', ' c ', 'a', '\\']],
    [
      'bytea[]',
      '{"\\\\x00","\\\\\\\\",x}',
      [Buffer.from([0]), Buffer.from('\\'), Buffer.from('x')],
    ],
    ['json[]', '{"{\\"a\\":1}",nonsense}', [{ a: 1 }, 'nonsense']],
  ]
  for (const [type, text, expected] of CASES) {
    test(`${type} ${text}`, async () => assert.deepEqual(await texts(type, text), [expected]))
  }
})

describe('binary of a wrong length comes as text, and of an unknown type as bytes', () => {
  const columnOf = (oid: number): FakeColumn => ({ oid, format: 1 })

  test('by type', async () => {
    for (const { name, oid, binary } of PG_TYPES) {
      const given = [0, 1, 3, 5, 7, 9, 15, 17].map(length => [Buffer.alloc(length, 0x61)])
      const found = (await read([columnOf(oid)], given)).flat()
      if (binary === 'none' || binary === 'bytea') assert.deepEqual(found, given.flat(), name)
      else if (binary !== 'bool' && name !== 'json')
        assert.deepEqual(found, given.flat().map(String), name)
    }
    assert.deepEqual(await read([columnOf(424_242)], [[Buffer.from([1, 255])]]), [
      [Buffer.from([1, 255])],
    ])
    assert.deepEqual(await read([columnOf(oidOf('int4[]'))], [[Buffer.alloc(20)]]), [
      [Buffer.alloc(20)],
    ])
  })

  test('jsonb of another version too', async () => {
    const given = [
      Buffer.from('\x01{"a":1}'),
      Buffer.from('\x02{}'),
      Buffer.from('\x01'),
      Buffer.alloc(0),
    ]
    const found = await read(
      [columnOf(oidOf('jsonb'))],
      given.map(each => [each]),
    )
    assert.deepEqual(found.flat(), [{ a: 1 }, '\x02{}', '', ''])
  })

  test('and columns may come in both forms at once', async () => {
    const columns: FakeColumn[] = [
      { oid: 23, format: 0 },
      { oid: 23, format: 1 },
      { oid: 25, format: 0 },
    ]
    const row = [Buffer.from('7'), Buffer.from([0, 0, 0, 8]), null]
    assert.deepEqual(await read(columns, [row]), [[7, 8, null]])
  })
})

randomTest(
  'any bytes of any type make exactly one value, which is they where it is a text',
  {},
  async random => {
    const types = PG_TYPES.flatMap(({ oid, arrayOid }) => [oid, arrayOid])
    for (let round = 0; round < (FULL ? 4_000 : 60); round++) {
      const columns = types.map((oid): FakeColumn => ({ oid, format: random.chance(0.2) ? 1 : 0 }))
      const rows = Array.from({ length: 20 }, () => columns.map(() => randomBytes(random)))
      const found = await read(columns, rows)
      assert.equal(found.length, rows.length)
      found.forEach((row, i) => {
        assert.equal(row.length, columns.length)
        for (let column = 0; column < columns.length; column++) {
          const { oid, format } = columns[column]!
          const isPlain = format === 0 && oid !== oidOf('json') && oid !== oidOf('jsonb')
          if (typeof row[column] === 'string' && isPlain)
            assert.equal(row[column], rows[i]![column]!.toString())
        }
      })
    }
  },
)

const WORDS = [
  '{',
  '}',
  '"',
  '\\',
  ',',
  'NULL',
  '\\x',
  'ff',
  '1',
  '-',
  '.',
  'e',
  ' ',
  ':',
  '+',
  '[0:0]=',
  '2016-01-11 00:00:00',
  ' BC',
  'infinity',
  'é',
  't',
]

function randomBytes(random: Random): Buffer {
  if (random.chance(0.2)) return random.bytes(random.below(24))
  const count = random.below(12)
  return Buffer.from(Array.from({ length: count }, () => random.pick(WORDS)).join(''))
}
