/** 27: each request of a pipeline is answered once, in order, after its own commit.
 *  Owns: one server.   Thread: main of a test process.   Holds: each test has pipelines of its own.
 *  Runs: beside others, since no figure of it is near its bound. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { renameSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { pack } from 'msgpackr'
import { Pipeline, SEND, STATEMENT_COUNT_MAX } from '../native-bindings/pipeline.ts'
import { openPipeline, refusedOf, rowsOf, TestPipeline } from './helpers/native_pipeline.ts'
import { sharedPostgres, withPostgres } from './helpers/postgres.ts'

const { url, admin } = await sharedPostgres()

// ── order ───────────────────────────────────────────────────────────────────────────────────────────────────────────

test('a thousand requests in flight are answered in the order they were sent', async t => {
  const opened = await openPipeline(t, url)
  opened.pipeline.define(0, 'echo', 'select $1::int as n')
  const answers = await Promise.all(Array.from({ length: 1_000 }, (_, i) => opened.execute(0, [i])))
  assert.deepEqual(
    answers.map(answer => rowsOf(answer).values[0]),
    Array.from({ length: 1_000 }, (_, i) => i),
  )
  assert.deepEqual(
    opened.order,
    Array.from({ length: 1_000 }, (_, i) => i + 1),
  )
  assert.ok(opened.batches.length < 500, `${opened.batches.length} calls for 1000 answers`)
  assert.equal(opened.pipeline.pending, 0)
})

test('an answer has its source, columns, command, count and values', async t => {
  const opened = await openPipeline(t, url)
  opened.pipeline.define(3, 'two', 'select i as id, $1::text as t from generate_series(1, 2) i')
  const { source, shape, command, rowCount, values } = rowsOf(await opened.execute(3, ['x']))
  assert.deepEqual(
    { source, shape, command, rowCount, values },
    {
      source: 'primary',
      shape: ['id', 23, 't', 25],
      command: 'SELECT',
      rowCount: 2,
      values: [1, 'x', 2, 'x'],
    },
  )
  const created = rowsOf(await opened.run('create temp table t(a int)'))
  assert.deepEqual(
    [created.command, created.rowCount, created.shape, created.values],
    ['CREATE', null, [], []],
  )
  const inserted = rowsOf(await opened.run('insert into t select generate_series(1, 5)'))
  assert.deepEqual([inserted.command, inserted.rowCount], ['INSERT', 5])
  assert.deepEqual(rowsOf(await opened.run(';')).command, '')
})

test('an error in the middle leaves the others alone, before it and behind it', async t => {
  const opened = await openPipeline(t, url)
  await opened.run('create temp table kept(n int)')
  opened.pipeline.define(0, 'put', 'insert into kept values ($1)')
  opened.pipeline.define(1, 'divide', 'select 1 / $1::int')
  const answers = await Promise.all([
    opened.execute(0, [1]),
    opened.execute(1, [0]),
    opened.run('select nothing_here'),
    opened.execute(0, [2]),
    opened.execute(1, [1]),
  ])
  assert.deepEqual(
    answers.map(({ kind }) => kind),
    ['rows', 'refused', 'refused', 'rows', 'rows'],
  )
  const division = refusedOf(answers[1]!)
  assert.deepEqual([division.sqlState, division.severity], ['22012', 'ERROR'])
  const { sqlState, position, message } = refusedOf(answers[2]!)
  assert.deepEqual([sqlState, position], ['42703', 8])
  assert.match(message, /nothing_here/)
  assert.equal(await opened.value('select sum(n)::int from kept'), 3)
})

test('an error has its detail and hint, and one of any length fits', async t => {
  const opened = await openPipeline(t, url, { outputBytes: 4_096 })
  const raise = (text: string) =>
    `do $$ begin raise exception using message = ${text}, detail = repeat('d', 50000), hint = 'so' ; end $$`
  const short = refusedOf(await opened.run(raise("'äh'")))
  assert.deepEqual([short.sqlState, short.message, short.hint], ['P0001', 'äh', 'so'])
  const long = refusedOf(await opened.run(raise("'x' || repeat('ä', 50000)")))
  assert.match(long.message, /^xä+$/)
  assert.match(long.detail!, /^d+$/)
})

test('a request is its own transaction, committed when it is answered', async t => {
  const opened = await openPipeline(t, url)
  await opened.run('create table committed(n int)')
  const client = await admin()
  const answer = opened.run('insert into committed values (1)')
  const next = opened.run('select pg_sleep(0.3)')
  await answer
  assert.equal(await client.value('select count(*) from committed'), '1')
  await next
  assert.equal(opened.pipeline.transactionStatus(), 0)
})

test('a deferred constraint that fails at the commit is the request’s own error', async t => {
  const opened = await openPipeline(t, url)
  await opened.run('create table parent(id int primary key); '.replace(';', '') as string)
  await opened.run('create table child(id int references parent deferrable initially deferred)')
  opened.pipeline.define(0, 'orphan', 'insert into child values ($1)')
  const answers = await Promise.all([
    opened.execute(0, [1]),
    opened.run('insert into parent values (2)'),
    opened.execute(0, [3]),
    opened.execute(0, [2]),
  ])
  assert.deepEqual(
    answers.map(({ kind }) => kind),
    ['refused', 'rows', 'refused', 'rows'],
  )
  assert.equal(refusedOf(answers[0]!).sqlState, '23503')
  assert.equal(await opened.value('select count(*)::int from child'), 1)
})

// ── prepared statements ─────────────────────────────────────────────────────────────────────────────────────────────

test('a statement is prepared once, with its first execution, and then answered in binary', async t => {
  const opened = await openPipeline(t, url)
  opened.pipeline.define(0, 'typed', 'select $1::int8 as a, $2::float8 as b, $3::bool as c')
  const [first, second] = await Promise.all([
    opened.execute(0, [2 ** 40, 0.1, true]),
    opened.execute(0, [-1, -2.5, false]),
  ])
  assert.deepEqual(rowsOf(first!).values, [2 ** 40, 0.1, true])
  assert.deepEqual(rowsOf(second!).values, [-1, -2.5, false])
  assert.deepEqual(rowsOf(await opened.execute(0, [7, 1e-6, null])).values, [7, 1e-6, null])
  // In text the server would round it.
  await opened.run('set extra_float_digits = -10')
  assert.deepEqual(rowsOf(await opened.execute(0, [1, 1 / 3, true])).values, [1, 1 / 3, true])
  const prepared = await opened.run('select name, result_types::text from pg_prepared_statements')
  assert.deepEqual(rowsOf(prepared).values.slice(0, 1), ['typed'])
  assert.equal(rowsOf(prepared).values.length, 2)
})

test('a Parse that fails is the first request’s error; those behind get 26000; the next one prepares again', async t => {
  const opened = await openPipeline(t, url)
  opened.pipeline.define(0, 'early', 'select * from comes_later where n = $1')
  const [first, second, third] = await Promise.all([
    opened.execute(0, [1]),
    opened.execute(0, [1]),
    opened.execute(0, [1]),
  ])
  assert.equal(refusedOf(first!).sqlState, '42P01')
  assert.equal(refusedOf(second!).sqlState, '26000')
  assert.equal(refusedOf(third!).sqlState, '26000')
  await opened.run('create temp table comes_later(n int)')
  assert.deepEqual(rowsOf(await opened.execute(0, [1])).values, [])
})

test('a bad parameter of the first execution leaves the statement prepared', async t => {
  const opened = await openPipeline(t, url)
  opened.pipeline.define(0, 'number', 'select $1::int')
  assert.equal(refusedOf(await opened.execute(0, ['x'])).sqlState, '22P02')
  assert.deepEqual(rowsOf(await opened.execute(0, [5])).values, [5])
  assert.equal(await opened.value('select count(*)::int from pg_prepared_statements'), 1)
})

test('a statement that the server has forgotten is refused once and then prepared again', async t => {
  const opened = await openPipeline(t, url)
  opened.pipeline.define(0, 'gone', 'select $1::int')
  await opened.execute(0, [1])
  await opened.run('deallocate all')
  assert.equal(refusedOf(await opened.execute(0, [2])).sqlState, '26000')
  assert.deepEqual(rowsOf(await opened.execute(0, [3])).values, [3])
})

test('a function’s own 26000 is not taken for that', async t => {
  const opened = await openPipeline(t, url)
  await opened.run(
    "create function pg_temp.missing() returns int language plpgsql as $$ begin raise exception 'prepared statement \"x\" does not exist' using errcode = '26000'; end $$",
  )
  opened.pipeline.define(0, 'caller', 'select pg_temp.missing()')
  for (let i = 0; i < 3; i++) assert.equal(refusedOf(await opened.execute(0)).sqlState, '26000')
})

test('a changed table: 0A000 as the server says it; forget() and define() mend it', async t => {
  const opened = await openPipeline(t, url)
  await opened.run('create temp table changing(a int)')
  await opened.run('insert into changing values (1)')
  opened.pipeline.define(0, 'all_of_it', 'select * from changing')
  assert.deepEqual(rowsOf(await opened.execute(0)).values, [1])
  await opened.run("alter table changing add b text default 'b'")
  assert.equal(refusedOf(await opened.execute(0)).sqlState, '0A000')
  opened.pipeline.forget(0)
  opened.pipeline.define(0, 'all_of_it', 'select * from changing')
  assert.deepEqual(rowsOf(await opened.execute(0)).values, [1, 'b'])
})

test('forget() closes at the server; the slot serves another statement at once, requests in flight are unharmed', async t => {
  const opened = await openPipeline(t, url)
  const answers = []
  for (let i = 0; i < 50; i++) {
    opened.pipeline.define(7, `s${i % 3}"q`, `select $1::int + ${i} as sum`)
    answers.push(opened.execute(7, [i]), opened.execute(7, [0]))
    opened.pipeline.forget(7)
  }
  const sums = (await Promise.all(answers)).map(answer => rowsOf(answer).values[0])
  assert.deepEqual(
    sums,
    Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? i : (i - 1) / 2)),
  )
  assert.equal(await opened.value('select count(*)::int from pg_prepared_statements'), 0)
})

test('slots are checked: out of range, empty, taken; names too', async t => {
  const { pipeline } = await openPipeline(t, url)
  const bytes = pack([])
  assert.throws(() => pipeline.define(STATEMENT_COUNT_MAX, 'a', 'select 1'), RangeError)
  assert.throws(() => pipeline.execute(5, 1, bytes, 0, 1), RangeError)
  assert.throws(() => pipeline.execute(-1, 1, bytes, 0, 1), RangeError)
  pipeline.define(STATEMENT_COUNT_MAX - 1, 'a', 'select 1')
  assert.throws(() => pipeline.define(STATEMENT_COUNT_MAX - 1, 'a', 'select 1'), /taken/)
  assert.throws(() => pipeline.define(1, '', 'select 1'), RangeError)
  assert.throws(() => pipeline.define(1, 'n'.repeat(64), 'select 1'), RangeError)
  assert.throws(() => pipeline.execute(1_023, 1, bytes, 1, 0), RangeError)
  assert.throws(() => pipeline.execute(1_023, 1, bytes, 0, 2), RangeError)
  pipeline.forget(12)
  assert.equal(pipeline.pending, 0)
})

// ── sizes ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const TEXT_OF = (size: number) => `select repeat('x', ${size}) as x`

test('results that fill the output are told in parts, in order, none lost', async t => {
  const opened = await openPipeline(t, url, { outputBytes: 4_096 })
  opened.pipeline.define(0, 'text', "select repeat('x', $1::int) as x")
  const sizes = Array.from({ length: 300 }, (_, i) => (i * 37) % 6_000)
  const answers = await Promise.all(sizes.map(size => opened.execute(0, [size])))
  answers.forEach((answer, i) => {
    const { values, isLarge } = rowsOf(answer)
    assert.equal((values[0] as string).length, sizes[i])
    if (sizes[i]! > 4_096) assert.ok(isLarge)
    if (sizes[i]! < 4_000) assert.ok(!isLarge)
  })
  assert.deepEqual(
    opened.order,
    sizes.map((_, i) => i + 1),
  )
})

test('room for one answer at a time is enough', async t => {
  const opened = await openPipeline(t, url, { answerCount: 1 })
  await Promise.all(Array.from({ length: 100 }, (_, i) => opened.run(`select ${i}`)))
  assert.deepEqual(new Set(opened.batches), new Set([1]))
  assert.equal(opened.batches.length, 100)
})

test('a result of 12 MB arrives whole, in a Buffer of its own', async t => {
  const opened = await openPipeline(t, url)
  const [, large, after] = await Promise.all([
    opened.run('select 1'),
    opened.run("select repeat('y', 1200) as y from generate_series(1, 10000)"),
    opened.run('select 2'),
  ])
  const { values, isLarge, rowCount } = rowsOf(large!)
  assert.deepEqual([isLarge, rowCount, values.length], [true, 10_000, 10_000])
  assert.ok(values.every(value => (value as string).length === 1_200))
  assert.deepEqual(rowsOf(after!).values, [2])
  assert.deepEqual(opened.order, [1, 2, 3])
})

test('a result above maxBytes is TOO_LARGE and not a byte of it is told', async t => {
  const opened = await openPipeline(t, url, { maxBytes: 10_000 })
  const answers = await Promise.all(
    [9_900, 10_001, 10_500, 11_000, 10].map(size => opened.run(TEXT_OF(size))),
  )
  assert.deepEqual(
    answers.map(({ kind }) => kind),
    ['rows', 'too large', 'too large', 'too large', 'rows'],
  )
})

test('a result far above maxBytes is cancelled at the server, and the requests behind it run', async t => {
  const opened = await openPipeline(t, url, { maxBytes: 100_000 })
  opened.pipeline.define(0, 'many', 'select generate_series(1, $1::int), 7')
  const before = process.memoryUsage.rss()
  const answers = await Promise.all([
    opened.run('select 1'),
    // 2 GB: without the cancellation this would take a minute and all memory.
    opened.execute(0, [100_000_000]),
    opened.run('select 2'),
    opened.run('select 3'),
  ])
  assert.deepEqual(
    answers.map(({ kind }) => kind),
    ['rows', 'too large', 'rows', 'rows'],
  )
  const grownMb = (process.memoryUsage.rss() - before) / 2 ** 20
  assert.ok(grownMb < 64, `the process grew by ${grownMb} MB`)
})

test('whoever else that cancellation hits is answered ABORTED, and may be sent again', async t => {
  const opened = await openPipeline(t, url, { maxBytes: 20_000 })
  const answers = [
    opened.run("select repeat('x', 100) from generate_series(1, 1000)"),
    opened.run('select pg_sleep(5)'),
    opened.run('select 3'),
  ]
  opened.pipeline.flush()
  execFileSync('sleep', ['0.3']) // the socket has taken all of the first answer: the server is at the second request
  const kinds = await Promise.all(answers)
  assert.deepEqual(
    kinds.map(({ kind }) => kind),
    ['too large', 'aborted', 'rows'],
  )
  assert.deepEqual(rowsOf(await opened.run('select pg_sleep(0.1), 4')).values[1], 4)
})

test('a single value of 20 MB is too large, and the connection goes on', async t => {
  const opened = await openPipeline(t, url)
  const [large, after] = await Promise.all([
    opened.run(TEXT_OF(20_000_000)),
    opened.run('select 1'),
  ])
  assert.equal(large!.kind, 'too large')
  assert.deepEqual(rowsOf(after!).values, [1])
})

test('a result that cannot be cancelled ends the connection before it takes all memory', async t => {
  await withPostgres(async own => {
    const opened = await openPipeline(t, own.url, { maxBytes: 100_000 })
    const socket = join(own.server.socketDir, `.s.PGSQL.${own.server.port}`)
    renameSync(socket, `${socket}.hidden`) // the cancellation finds nobody
    const answer = await opened.run('select generate_series(1, 100000000), 7')
    renameSync(`${socket}.hidden`, socket)
    assert.equal(answer.kind, 'lost')
    assert.equal(opened.lost[0]![1], '54000')
  })
})

// ── from within the events ──────────────────────────────────────────────────────────────────────────────────────────

test('requests sent from within onAnswers() are answered, a thousand times over', async t => {
  const opened = await openPipeline(t, url, {
    onAnswers: () => {
      if (rounds-- > 0) {
        void opened.execute(0, [rounds])
        opened.pipeline.flush()
      }
    },
  })
  let rounds = 1_000
  opened.pipeline.define(0, 'echo', 'select $1::int')
  void opened.execute(0, [0])
  await opened.until(() => rounds < 0)
  assert.equal(opened.order.length, 1_001)
})

test('finish() within onAnswers() is the end of what is told, also in the middle of a batch', async t => {
  for (const answerCount of [1, 1_024]) {
    const opened = await openPipeline(t, url, {
      answerCount,
      onAnswers: () => opened.pipeline.finish(),
    })
    for (let i = 0; i < 20; i++) void opened.run('select 1')
    opened.pipeline.flush()
    await opened.until(() => opened.order.length > 0)
    const told = opened.order.length
    await new Promise(resolve => setTimeout(resolve, 50))
    assert.equal(opened.order.length, told)
    assert.equal(opened.lost.length, 0)
    assert.equal(opened.pipeline.run(99, 'select 1'), SEND.REFUSED)
  }
})

test('finish() and connect() within onAnswers(): the new connection knows nothing of the old one’s requests', async t => {
  let isFirst = true
  const opened = await openPipeline(t, url, {
    onAnswers: () => {
      if (isFirst) opened.pipeline.connect(url)
      isFirst = false
    },
  })
  opened.pipeline.define(0, 'echo', 'select $1::int')
  for (let i = 0; i < 20; i++) void opened.execute(0, [i])
  await opened.until(() => opened.connects.length === 2)
  assert.deepEqual([opened.connects[1], opened.pipeline.pending], [undefined, 0])
  assert.deepEqual(rowsOf(await opened.execute(0, [5])).values, [5])
})

test('forget(), define(), cancel() and another pipeline within onAnswers()', async t => {
  const other = await openPipeline(t, url)
  let step = 0
  const done: Promise<unknown>[] = []
  const opened = await openPipeline(t, url, {
    answerCount: 1,
    onAnswers: () => {
      if (++step > 20) return
      opened.pipeline.forget(0)
      opened.pipeline.define(0, `s${step}`, 'select $1::int')
      done.push(opened.execute(0, [step]), other.run('select 1'), other.cancel())
      opened.pipeline.flush()
    },
  })
  opened.pipeline.define(0, 's0', 'select $1::int')
  await Promise.all([opened.execute(0, [1]), opened.execute(0, [1]), opened.execute(0, [1])])
  await opened.until(() => step > 20)
  await Promise.all(done)
})

test('what onAnswers() throws is an uncaughtException of the thread, and the pipeline goes on', async t => {
  const seen: string[] = []
  const listeners = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  const onThrown = (error: Error) => seen.push(error.message)
  process.on('uncaughtException', onThrown)
  const opened = await openPipeline(t, url, {
    answerCount: 2,
    onAnswers: () => {
      throw new Error('thrown in onAnswers')
    },
  })
  await Promise.all([1, 2, 3, 4, 5].map(n => opened.run(`select ${n}`)))
  process.off('uncaughtException', onThrown)
  for (const listener of listeners) process.on('uncaughtException', listener)
  assert.ok(seen.length >= 3)
  assert.deepEqual(new Set(seen), new Set(['thrown in onAnswers']))
})

test('notices and notifications of the server are read and dropped', async t => {
  const opened = await openPipeline(t, url)
  await opened.run('listen news')
  const client = await admin()
  for (let i = 0; i < 20; i++) await client.query(`notify news, '${i}'`)
  const loud = "do $$ begin for i in 1..100 loop raise warning 'loud'; end loop; end $$"
  const answers = await Promise.all([opened.run(loud), opened.run('select 1')])
  assert.deepEqual(
    answers.map(({ kind }) => kind),
    ['rows', 'rows'],
  )
})

test('COPY ends the connection with a sentence, and does not hang', async t => {
  for (const sql of ['copy (select 1) to stdout', 'copy pg_temp.none from stdin']) {
    const opened = await openPipeline(t, url)
    await opened.run('create temp table none(a int)')
    const answers = await Promise.all([opened.run(sql), opened.run('select 1')])
    assert.deepEqual(
      answers.map(({ kind }) => kind),
      ['lost', 'lost'],
    )
    assert.match(opened.lost[0]![0], /COPY/)
  }
})

test('the constructor checks what it is given', () => {
  const events = { onConnected() {}, onAnswers() {}, onLarge() {}, onLost() {} }
  const make = (output: unknown, answers: unknown, source = 'p', options = {}) =>
    new Pipeline(output as Buffer, answers as Int32Array, events, source, options)
  const [output, answers] = [Buffer.alloc(4_096), new Int32Array(4)]
  make(output, answers)
  assert.throws(() => make(Buffer.alloc(4_095), answers), RangeError)
  assert.throws(() => make(new Float64Array(1_000), answers), RangeError)
  assert.throws(() => make({}, answers))
  assert.throws(() => make(output, new Int32Array(3)), RangeError)
  assert.throws(() => make(output, Buffer.alloc(64)), RangeError)
  assert.throws(() => make(output, answers, 's'.repeat(64)), RangeError)
  for (const maxBytes of [0, -1, 2 ** 31, Number.NaN])
    assert.throws(() => make(output, answers, 'p', { maxBytes }), RangeError)
  assert.throws(() => Pipeline.prototype.flush.call({} as Pipeline), TypeError)
})

test('a pipeline that was never connected refuses everything and says why', async () => {
  const { pipeline } = new TestPipeline()
  pipeline.define(0, 'a', 'select 1')
  assert.equal(pipeline.run(1, 'select 1'), SEND.REFUSED)
  assert.equal(pipeline.execute(0, 1, pack([]), 0, 1), SEND.REFUSED)
  assert.equal(pipeline.executeValues(0, 1, []), SEND.REFUSED)
  pipeline.flush()
  pipeline.forget(0)
  assert.deepEqual([pipeline.pending, pipeline.transactionStatus()], [0, 4])
  assert.match((await new Promise<string | undefined>(r => pipeline.cancel(r)))!, /not open/)
  pipeline.finish()
  pipeline.finish()
})
