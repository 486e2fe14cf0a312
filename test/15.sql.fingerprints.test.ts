/** Fingerprints: what texts have in common, and that no literal is left in them.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Holds:  the random cases print their seed. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fingerprintOf } from '../workers/postgres/insight/fingerprint.ts'
import { maskedExpression, maskedPlan, shownValues } from '../workers/postgres/insight/masking.ts'
import { withoutSchema } from '../workers/postgres/insight/proof.ts'
import { randomTest } from './helpers/random.ts'

const CASES: readonly (readonly [fingerprint: string, ...texts: string[]])[] = [
  [
    'select * from t where a = $1',
    'SELECT * FROM t WHERE a = 1',
    'select *\n from t -- why\n where a=1;',
    "select * from t where a = 'x'",
    'select * /* a /* nested */ comment */ from t where a = $7',
    "select * from t where a = E'it\\'s'",
    "select * from t where a = 'it''s'",
    'select * from t where a = $tag$ any $$ thing $tag$',
    'select * from t where a = -5',
    'select * from t where a = 1.5e-10',
    "select * from t where a = U&'d\\0061t'",
    "select * from t where a = X'1FF'",
    "select * from t where a = 'one'\n'two'",
  ],
  [
    'select * from t where a in ($1) and b = $2',
    'select * from t where a in (1, 2, 3) and b = 4',
    'select * from t where a in ($1, $2) and b = $3',
    "select * from t where a in ('x') and b = $1",
  ],
  [
    'insert into t(a, b) values ($1, $2)',
    'insert into t (a, b) values (1, 2)',
    'insert into t(a,b) values (1,2), (3,4), (5, $6)',
  ],
  ['select array[$1]', 'select ARRAY[1,2,3]', 'select array[ $1 , $2 ]'],
  ['select a - $1 from "T"', 'select a - 1 from "T"', 'select a-2 from "T"'],
  ['select a -> $1, b::text from t', "select a->'k', b :: text from t"],
  ['select $1::interval', "select interval '1 day'"],
  ['select f($1, $2)', 'select f(1, 2)', "select f('a', $1)"],
  ['select $1, $2, $1', 'select $3, $9, $3'],
  ['', '', '  -- nothing'],
]

for (const [fingerprint, ...texts] of CASES)
  for (const text of texts)
    test(`${JSON.stringify(text)} is ${JSON.stringify(fingerprint)}`, () =>
      assert.equal(fingerprintOf(text), fingerprint))

test('names, functions and operators keep statements apart', () => {
  const texts = [
    'select a from t',
    'select b from t',
    'select "A" from t',
    'select a from t where a > 1',
    'select a from t where a < 1',
  ]
  assert.equal(new Set(texts.map(fingerprintOf)).size, texts.length)
})

test('a long list of rows costs no more than its beginning, and is as a short one', () => {
  const rows = Array.from({ length: 200_000 }, (_, i) => `(${i}, 'secret${i}')`).join(', ')
  const startMs = performance.now()
  const fingerprint = fingerprintOf(`insert into t (a, b) values ${rows}`)
  assert(performance.now() - startMs < 200)
  assert.equal(fingerprint, 'insert into t(a, b) values ($1, $2) …')
})

randomTest('no text, however broken, leaves a secret in its fingerprint', {}, random => {
  const pieces = [
    "'secret'",
    "E'\\'secret'",
    '$$secret$$',
    '$q$ secret $q$',
    '(',
    ')',
    ',',
    "'",
    '"',
    '/*',
    '*/',
    '--',
    '\n',
    ' in ',
    ' values ',
    '12',
    '$1',
    '::',
    '[',
    ']',
    'array',
    ';',
    '-',
    '.',
    'é',
    '\\',
    'e',
    'u&',
    '$',
    '::text',
  ]
  for (let i = 0; i < 3_000; i++) {
    const text = Array.from(
      { length: random.below(24) },
      () => pieces[random.below(pieces.length)]!,
    ).join('')
    const whole = `select 'secret${i}' as a, ${text}`
    const fingerprint = fingerprintOf(whole)
    assert(!fingerprint.includes(`secret${i}`), `${whole} → ${fingerprint}`)
    assert(fingerprint.length <= 2_048)
  }
})

test('values in plans are masked, their kinds and the shape of a pattern are not', () => {
  assert.equal(
    maskedExpression(
      "((a = 'secret'::text) AND (b > 12) AND (c ~~ 'sec%'::text) AND (d ~~ '%ret'::text) AND (e = $1))",
    ),
    "((a = '?'::text) AND (b > ?) AND (c ~~ '?%'::text) AND (d ~~ '%?%'::text) AND (e = $1))",
  )
  const plan = [
    {
      Plan: {
        'Node Type': 'Seq Scan',
        'Relation Name': 't',
        Filter: "(a = 'secret')",
        'Sort Key': ["(a || 'secret')"],
        'Plan Rows': 12,
        Odd: "'secret'",
      },
    },
  ]
  const masked = JSON.stringify(maskedPlan(plan))
  assert(!masked.includes('secret'), masked)
  assert(masked.includes('Seq Scan') && masked.includes('12'))
  const values = [
    'secret',
    12,
    12n,
    null,
    true,
    new Date(0),
    new Uint8Array(3),
    [1, 2],
    { a: 'secret' },
  ]
  assert.deepEqual(shownValues(values, false), [
    'text(6)',
    'number',
    'number',
    'null',
    'boolean',
    'time',
    'bytes(3)',
    'array(2)',
    'object',
  ])
  assert.deepEqual(shownValues(values.slice(0, 4), true), ['"secret"', '12', '12', 'null'])
})

test('a schema is taken from before its own table alone', () => {
  const sql = `select public.t.a, 'public.t' from public.t join "public" . "t" x on true join public.tt on true join other.t on true`
  assert.equal(
    withoutSchema(sql, 'public', 't'),
    `select t.a, 'public.t' from t join "t" x on true join public.tt on true join other.t on true`,
  )
})
