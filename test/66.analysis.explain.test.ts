/** What explainCache() says: the reason, or that there is none, with these parameters.
 *  Owns:   nothing.   Thread: main of a test process. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { analysedText } from '../workers/postgres/analysis/copied.ts'
import { explainCache, paramRefusal } from '../workers/postgres/analysis/explain_cache.ts'
import { type Facts, factsOfCommand, unknownFacts } from '../workers/postgres/analysis/facts.ts'
import { Statements } from '../workers/postgres/statement.ts'

const READ: Facts = {
  ...unknownFacts(''),
  side: 'read',
  reads: [16_384],
  writes: [],
  mayUseReplica: true,
  cacheRefusal: undefined,
  doubt: undefined,
  tables: ['public.rooms'],
  hasTimeParameter: true,
}

test('a statement that may be kept has tables and no reason', () => {
  const told = { cacheable: true, reason: undefined, tables: ['public.rooms'], side: 'read' }
  assert.deepEqual(explainCache(READ), told)
  assert.deepEqual(explainCache(READ, ['2024-01-01', 7, null, new Date()]), told)
})

test('a parameter that names a moment is a reason, where a date or time is taken', () => {
  for (const param of ['now', ' Today', 'tomorrow 10:00', 'YESTERDAY', ['2024-01-01', 'today']]) {
    const { cacheable, reason } = explainCache(READ, [1, param])
    assert.equal(cacheable, false)
    assert.match(reason!, /parameter \$2 may be a date or time that moves/)
  }
  assert.equal(paramRefusal({ ...READ, hasTimeParameter: false }, ['now']), undefined)
})

test('a refusal of the statement comes first', () => {
  const { reason, side } = explainCache(unknownFacts('a doubt'), ['now'])
  assert.deepEqual({ reason, side }, { reason: 'a doubt', side: 'unknown' })
})

test('commands are known for what they may do to names', () => {
  const statements = new Statements()
  const of = (sql: string) => factsOfCommand(statements.inside(sql))
  for (const sql of [
    'select 1',
    'with x as (select 1) table x',
    '/* c */ insert into a values (1)',
  ])
    assert.equal(of(sql), undefined, sql)
  for (const sql of [
    'create table a ()',
    'drop view a',
    'do $$ $$',
    'grant select on a to b',
    'call c()',
  ])
    assert.equal(of(sql)?.mayChangeSchema, true, sql)
  for (const sql of ['truncate a', 'set x = 1', 'vacuum', 'refresh materialized view a'])
    assert.deepEqual([of(sql)?.mayChangeSchema, of(sql)?.writes], [false, 'everything'], sql)
  for (const sql of ['lock table a', 'savepoint a', 'release a', 'rollback to a', 'notify a'])
    assert.deepEqual([of(sql)?.writes, of(sql)?.side], [[], 'read'], sql)
  assert.deepEqual([of('show x')?.side, of('explain select 1')?.side], ['read', 'read'])
  assert.deepEqual(of('explain (analyse) delete from a')?.writes, 'everything')
})

test('a COPY is looked at as the query that does the same, or not at all', () => {
  const statements = new Statements()
  const of = (sql: string) => analysedText(statements.copy(sql, /stdin/.test(sql) ? 'in' : 'out'))
  const into = (name: string) => `insert into ${name} default values`
  assert.equal(of('copy rooms from stdin'), into('rooms'))
  assert.equal(of('COPY other."Odd ""é" (a, "b") FROM stdin csv'), into('other."Odd ""é"'))
  assert.equal(of('copy été(a) from stdin'), into('été'))
  assert.equal(of('copy rooms to stdout'), 'table rooms')
  assert.equal(of('copy (select (1)) to stdout'), 'select (1)')
  for (const sql of [
    'copy rooms from stdin where wild(id) > 0',
    'copy /* c */ rooms from stdin',
    'copy a.b.c from stdin',
  ])
    assert.equal(of(sql), sql)
})
