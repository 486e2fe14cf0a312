/** Results that are to be fetched anew by the next engine: which are listed, the list's form, how they are asked for.
 *  Owns:   both tiers in this thread (cache_stand).   Thread: main of a test process. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { HotEntries, levelOf } from '../engine/cache/hot.ts'
import { Access } from '../engine/guard/access.ts'
import {
  RECIPE_CHARS_MAX,
  RECIPE_COUNT_MAX,
  RESULT_LIST_BYTES_MAX,
  RESULT_LIST_COUNT_MAX,
} from '../engine/limits.ts'
import { BodyReader, textBytesMax, writeText } from '../engine/protocol/body.ts'
import { decodeValue, encodeValue } from '../engine/protocol/payload.ts'
import {
  isQueryKey,
  PARAMS_BYTES_MAX,
  queryKey,
  readQueryKey,
  statementPrefix,
} from '../engine/protocol/query_key.ts'
import { HotList } from '../engine/router/hot_list.ts'
import { type Keeping, QueryFlight } from '../engine/router/query_flight.ts'
import { Recipes } from '../engine/router/recipes.ts'
import { type ListedResult, packResults, unpackResults } from '../engine/router/result_form.ts'
import { ResultList } from '../engine/router/result_list.ts'
import { requestFor } from '../engine/router/result_request.ts'
import { SqlAccess } from '../engine/router/sql_access.ts'
import { CacheStand } from './helpers/cache_stand.ts'
import { type Random, randomTest } from './helpers/random.ts'

const KEEPING: Keeping = { ttl: 60_000, staleMs: 0, tags: [], bounds: undefined }

function keyOf(sql: string, params: unknown[]): Buffer {
  const bytes = encodeValue(params)
  return Buffer.from(queryKey(statementPrefix('engine', 'main', sql), bytes, 0, bytes.length))
}

/** A flight whose result is being kept. */
function flightOf(sql: string, keeping: Keeping = KEEPING, asked = 'main'): QueryFlight {
  const body = Buffer.alloc(textBytesMax(asked))
  writeText(body, 0, asked)
  const prefix = statementPrefix('engine', 'main', sql)
  const place = { key: '', keyBytes: Buffer.alloc(0), hash: 0, prefix, sql }
  return new QueryFlight(place, 'main', keeping, body, true)
}

function learning(): Recipes {
  const recipes = new Recipes()
  recipes.turnOn(() => undefined)
  return recipes
}

function store({ memory }: CacheStand, key: Buffer, reads: number): void {
  const hash = memory.hash(key, 0, key.length)
  memory.set(hash, key, 0, key.length, key, 0, 1, Infinity)
  for (let i = 0; i < reads; i++) memory.get(hash, key, 0, key.length, 0)
}

function drawn(random: Random, count: number): ListedResult[] {
  const statements = Array.from({ length: 5 }, (_, i) => ({
    database: `db${i}`,
    held: random.chance(0.5) ? `r${i}` : undefined,
    sql: `select ${'ü'.repeat(random.below(200))} ${i}`,
    keeping: {
      ttl: [undefined, 'session', random.below(1e9)][random.below(3)],
      staleMs: random.below(1e6),
      tags: ['a', 'ü'].slice(random.below(3)),
      bounds: random.chance(0.5) ? undefined : { minMs: 1, maxMs: 1 + random.below(1e9) },
    },
  }))
  return Array.from({ length: count }, () => ({
    statement: statements[random.below(5)]!,
    level: random.below(25),
    params: encodeValue([random.next(), 'ü', null, Buffer.of(random.below(256))]),
  }))
}

test('a key gives back the parameters that it has, and none that it has by their hash alone', () => {
  for (const params of [[], ['x'], [200, -1, 'ü', null], [Buffer.of(0, 0x80, 0xff, 0x23)]]) {
    const key = keyOf('select 1', params)
    const found = readQueryKey(key, 0, key.length)!
    assert.deepEqual(found.params, encodeValue(params))
    assert.equal(found.prefix, statementPrefix('engine', 'main', 'select 1'))
    assert.ok(isQueryKey(key, 0))
  }
  const long = keyOf('select 1', ['x'.repeat(PARAMS_BYTES_MAX)])
  assert.equal(readQueryKey(long, 0, long.length), undefined)
  assert.ok(!isQueryKey(Buffer.from('query'), 0))
})

randomTest('a list comes back as it was, and only so much of it as it may have', {}, random => {
  const results = drawn(random, 200)
  assert.deepEqual(unpackResults(packResults(results)), results)
  assert.deepEqual(unpackResults(packResults([])), [])
  const statement = results[0]!.statement
  const params = encodeValue(['x'.repeat(900)])
  const packed = packResults(Array.from({ length: 200 }, () => ({ statement, level: 1, params })))
  assert.ok(packed.length <= RESULT_LIST_BYTES_MAX)
  assert.ok(unpackResults(packed).length > 40)
  const many = Array.from({ length: 300 }, (_, level) => ({
    statement,
    level,
    params: Buffer.of(0x90),
  }))
  assert.equal(unpackResults(packResults(many)).length, RESULT_LIST_COUNT_MAX)
})

randomTest(
  'a list that is damaged or strange is an empty one, or one that makes sense',
  {},
  random => {
    const packed = packResults(drawn(random, 20))
    for (let i = 0; i < 2_000; i++) {
      const damaged = Buffer.from(packed.subarray(0, random.between(0, packed.length)))
      for (let n = random.below(3); n > 0 && damaged.length > 0; n--)
        damaged[random.below(damaged.length)] = random.below(256)
      for (const { statement, level, params } of unpackResults(damaged)) {
        const { staleMs, bounds } = statement.keeping
        assert.equal(typeof statement.sql, 'string')
        for (const ms of [staleMs, bounds?.minMs ?? 0, bounds?.maxMs ?? 0]) assert.ok(ms >= 0)
        assert.ok(Number.isSafeInteger(level) && params instanceof Buffer)
        requestFor({ ...statement, params, timeoutMs: 1, priority: 0 })
      }
    }
  },
)

test('a list of another form, or with anything in it that was never written, is an empty one', () => {
  for (const strange of [1, [1], [1, [], [[0, 1, Buffer.of(0)]]], [2, [], []], { version: 1 }])
    assert.deepEqual(unpackResults(encodeValue(strange)), [])
  const row = ['main', null, 'select 1', null, 0, 0, 0, []]
  const listed = (at: number, value: unknown) =>
    unpackResults(encodeValue([1, [row.with(at, value as never)], [[0, 1, Buffer.of(0x90)]]]))
  assert.equal(listed(0, 'main').length, 1)
  for (let at = 0; at < row.length; at++)
    for (const value of [-1, {}]) assert.deepEqual(listed(at, value), [], `${at}`)
})

randomTest('a request is as a client would write it', {}, random => {
  for (const { statement, params } of drawn(random, 50)) {
    const body = requestFor({ ...statement, params, timeoutMs: 1_234, priority: 2 })
    const { ttl, staleMs, bounds, tags } = statement.keeping
    const reader = new BodyReader().reset(body, 0, body.length)
    assert.equal(reader.ttl(), ttl)
    const numbers = [reader.uint(), reader.uint(), reader.uint(), reader.uint()]
    assert.deepEqual(numbers, [staleMs, 0, bounds?.minMs ?? 0, bounds?.maxMs ?? 0])
    const found = Array.from({ length: reader.arrayHead() }, () => reader.text())
    assert.deepEqual(found, tags)
    assert.deepEqual([reader.text(), reader.uint(), reader.uint()], [statement.database, 1_234, 2])
    assert.deepEqual([reader.text(), reader.text()], ['warming', statement.sql])
    assert.deepEqual(body.subarray(reader.raw()), params)
    assert.ok(Array.isArray(decodeValue(params)))
  }
})

test('what is remembered of how results were asked for is bounded, and nothing until that is wanted', () => {
  const off = new Recipes()
  off.learn(flightOf('select 1'))
  assert.equal(off.count, 0)
  const recipes = learning()
  for (let i = 0; i < 2 * RECIPE_COUNT_MAX; i++) recipes.learn(flightOf(`select ${i}`))
  assert.equal(recipes.count, RECIPE_COUNT_MAX)
  assert.equal(recipes.get(flightOf('select 0').place.prefix), undefined)
  const last = flightOf(`select ${2 * RECIPE_COUNT_MAX - 1}`, { ...KEEPING, ttl: 5 })
  recipes.learn(last)
  assert.equal(recipes.get(last.place.prefix)!.keeping.ttl, 5, 'as it was asked for last')
  for (let i = 0; i < 100; i++) recipes.learn(flightOf(`select '${i}${'x'.repeat(8_000)}'`))
  assert.ok(recipes.count <= RECIPE_CHARS_MAX / 8_000)
  const tagged = { ...KEEPING, tags: ['t'.repeat(8_000)] }
  for (let i = 0; i < 100; i++) recipes.learn(flightOf(`select ${i}`, tagged))
  const tags = recipes.count
  assert.ok(tags <= RECIPE_CHARS_MAX / 8_000, 'tags count')
  for (let i = 100 - tags; i < 100; i++) recipes.learn(flightOf(`select ${i}`, KEEPING))
  for (let i = 0; i < 100; i++) recipes.learn(flightOf(`select '${i}${'x'.repeat(500)}'`))
  assert.equal(recipes.count, tags + 100, 'and those that are gone do not')
  const { count } = recipes
  recipes.learn(flightOf(`select '${'x'.repeat(10_000)}'`))
  assert.equal(recipes.count, count, 'a text that is too long')
})

test('the results read most are listed, hottest first, and no entry of another kind', async t => {
  const at = new CacheStand({ segmentBytes: 1 << 20 })
  t.after(() => at.close())
  const recipes = learning()
  const life = { ...KEEPING, staleMs: 500 }
  recipes.learn(flightOf('of many'))
  recipes.learn(flightOf('short', { ...life, ttl: 1_000 }))
  recipes.learn(flightOf('gone', { ...life, ttl: 'no such policy' }))
  recipes.learn(flightOf('stale', { ...life, ttl: 1_000, staleMs: 60_000 }))
  recipes.learn(flightOf('for ever', { ...life, ttl: 0 }))
  recipes.learn(flightOf('adaptive', { ...life, bounds: { minMs: 1, maxMs: 60_000 } }))
  for (let i = 0; i < 1_000; i++) store(at, keyOf('of many', [i]), i % 500)
  for (const sql of ['short', 'gone', 'stale', 'for ever', 'adaptive', 'never learnt'])
    store(at, keyOf(sql, []), 2_000)
  store(at, keyOf('of many', ['x'.repeat(200)]), 2_000)
  store(at, Buffer.from('plain'), 2_000)

  const hot = new HotEntries(at.segment, at.memory)
  new HotList(at.cache.state, hot, 0, recipes)
  const results = new ResultList(at.cache.state, recipes)
  const look = async () => {
    results.begin()
    return await hot.choose(
      false,
      () => turn(),
      (entry, reads) => results.see(entry, reads),
    )
  }
  assert.equal((await look()).count, 1, 'the plain one has its place in the other list')
  const listed = unpackResults(results.pack(8)!)
  assert.equal(listed.length, RESULT_LIST_COUNT_MAX)
  const hottest = listed.filter(({ level }) => level === levelOf(2_000))
  assert.deepEqual(
    new Set(hottest.map(({ statement }) => statement.sql)),
    new Set(['stale', 'for ever', 'adaptive']),
  )
  const levels = listed.map(({ level }) => level)
  assert.deepEqual(
    levels,
    levels.toSorted((one, other) => other - one),
  )
  assert.ok(levels.at(-1)! >= levelOf(370))

  await look()
  assert.equal(results.pack(Infinity), undefined, 'nothing has changed')
  for (let i = 0; i < 10; i++) store(at, keyOf('of many', [-i - 1]), 3_000)
  await look()
  assert.equal(results.pack(8), undefined, 'too little is new')
  await look()
  assert.ok(results.pack(Infinity), 'not at a shutdown')
})

test('a role’s connections are found again under this run’s name, if a role has them', () => {
  const before = new SqlAccess('\u0001one\u0001')
  const now = new SqlAccess('\u0001other\u0001')
  assert.equal(before.heldIn('main'), undefined)
  assert.equal(now.nameOf([], 'main', undefined), 'main')
  const access = (like: 'service' | 'read-only', databases?: [string, string][]) =>
    new Access({ role: 'own', like, databases: databases && new Map(databases) })
  const reader = access('service', [['main', 'reader']])
  const readOnly = access('read-only')
  for (const [role, held] of [
    [reader, 'wreader'],
    [readOnly, 'r'],
  ] as const) {
    const found = before.heldIn(before.nameOf([role], 'main', held)!)
    assert.equal(found, held)
    assert.equal(now.nameOf([reader, readOnly], 'main', found), `main\u0001other\u0001${held}`)
    assert.equal(now.nameOf([access('service')], 'main', found), undefined)
  }
  assert.equal(now.nameOf([reader], 'history', 'wreader'), undefined)
  assert.equal(now.nameOf([reader], 'main', 'rreader'), undefined)
})
