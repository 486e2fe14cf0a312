/** 22: the class PQ behaves as npm libpq's does, method by method, against a real server.
 *  Owns: one server and a table `people` in it.   Thread: main.   Holds: each test opens and finishes its own PQ.
 *  Runs: beside others, since no figure of it is near its bound. */
import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { EventEmitter } from 'node:events'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { answered, openPq, type Parameter, PQ, type Pq } from './helpers/native_clients.ts'
import { sharedPostgres } from './helpers/postgres.ts'

const postgres = await sharedPostgres()
const { url } = postgres

/** A connected PQ with a temporary table of three rows, one name empty, one age NULL. */
function withPq(use: (pq: Pq) => void | Promise<void>): () => Promise<void> {
  return async () => {
    const pq = new PQ()
    pq.connectSync(url)
    pq.exec('create temp table people(name text, age int)')
    pq.exec("insert into people values ('ada', 36), ('alan', 41), ('', null)")
    try {
      await use(pq)
    } finally {
      pq.finish()
    }
  }
}

test('PQ is an EventEmitter, and a thousand of them cost no connection', () => {
  const all = Array.from({ length: 1000 }, () => new PQ())
  assert.ok(all[0] instanceof EventEmitter)
  assert.ok(all.every(pq => pq.socket() === -1))
})

test('connect() calls back without an error, later, with `connected` set', async () => {
  const pq = new PQ()
  assert.ok(!pq.connected)
  let isLater = false
  const done = new Promise<void>((resolve, reject) =>
    pq.connect(url, error => {
      assert.ok(isLater)
      return error ? reject(error) : resolve()
    }),
  )
  isLater = true
  await done
  assert.equal(pq.connected, true)
  pq.exec('select now()')
  assert.equal(pq.ntuples(), 1)
  pq.finish()
  assert.equal(pq.connected, false)
})

test('connect() hands an error to the callback: bad string, no such host, nobody there', async () => {
  for (const [text, words] of [
    ['no_conninfo', /missing "="/],
    ['host=/nowhere', /No such file/],
    ['host=nobody.invalid', /could not translate host name "nobody.invalid"/],
    ['host=127.0.0.1 port=1', /refused/],
    [`${url}&options=-cnosuch%3D1`, /nosuch/],
  ] as const) {
    await assert.rejects(openPq(text), words)
  }
})

test('connect() needs a callback, and keeps the asynchronous context of its caller', async () => {
  assert.throws(() => (new PQ() as unknown as { connect(text: string): void }).connect(url))
  const storage = new AsyncLocalStorage<string>()
  const pq = new PQ()
  const seen = await storage.run('mine', () => {
    return new Promise(resolve => pq.connect(url, () => resolve(storage.getStore())))
  })
  assert.equal(seen, 'mine')
  pq.finish()
})

test('connectSync() throws libpq’s words and leaves the object unconnected', () => {
  const pq = new PQ()
  assert.throws(
    () => pq.connectSync('no_conninfo'),
    (error: Error) => !error.message.includes('connection pointer is NULL'),
  )
  assert.equal(pq.connected, false)
  pq.connectSync(url)
  assert.equal(pq.connected, true)
  pq.finish()
})

test('forty connections one after another, and forty at once with their readers on', async () => {
  const first = Array.from({ length: 40 }, () => new PQ())
  for (const pq of first) pq.connectSync(url)
  for (const pq of first) pq.finish()
  const second = await Promise.all(Array.from({ length: 40 }, () => openPq(url)))
  for (const pq of second) pq.startReader()
  for (const pq of second) {
    pq.stopReader()
    pq.finish()
  }
})

test('a finished PQ connects again', async () => {
  const pq = await openPq(url)
  pq.finish()
  await new Promise<void>((resolve, reject) => pq.connect(url, e => (e ? reject(e) : resolve())))
  pq.exec('select 1')
  assert.equal(pq.getvalue(0, 0), '1')
  pq.finish()
})

test('without a connection every method answers as libpq does for NULL', () => {
  const pq = new PQ()
  pq.exec()
  assert.equal(pq.resultStatus(), 'PGRES_FATAL_ERROR')
  assert.match(pq.errorMessage(), /connection pointer is NULL/)
  assert.equal(pq.sendQuery('select 1'), false)
  assert.equal(pq.sendQueryParams('select $1', ['a']), false)
  assert.equal(pq.sendPrepare('a', 'select 1', 0), false)
  assert.equal(pq.sendQueryPrepared('a', []), false)
  assert.equal(pq.socket(), -1)
  assert.equal(pq.serverVersion(), 0)
  assert.equal(pq.transactionStatus(), 4)
  assert.equal(pq.getResult(), false)
  assert.equal(pq.consumeInput(), false)
  assert.equal(pq.isBusy(), false)
  assert.equal(pq.setNonBlocking(true), false)
  assert.equal(pq.isNonBlocking(), false)
  assert.equal(pq.flush(), -1)
  assert.equal(pq.notifies(), undefined)
  assert.equal(pq.escapeLiteral('x'), null)
  assert.equal(pq.escapeIdentifier('x'), null)
  assert.equal(pq.putCopyData(Buffer.from('x')), -1)
  assert.equal(pq.putCopyEnd(), -1)
  assert.equal(pq.getCopyData(true), -2)
  assert.equal(pq.ntuples(), 0)
  assert.equal(pq.nfields(), 0)
  assert.equal(pq.fname(0), null)
  assert.equal(pq.getvalue(0, 0), null)
  assert.equal(pq.getisnull(0, 0), true)
  assert.equal(pq.cmdStatus(), '')
  assert.equal(pq.cmdTuples(), '')
  assert.equal(pq.resultErrorMessage(), '')
  assert.equal(pq.resultErrorFields(), null)
  pq.clear()
  pq.stopReader()
  pq.finish()
  pq.finish()
})

test('without a connection reading and writing throw, and cancel() returns an Error', () => {
  const pq = new PQ()
  assert.throws(() => pq.startReader(), /connected/)
  assert.throws(() => pq.writable(() => {}), /connected/)
  assert.ok(pq.cancel() instanceof Error)
})

test(
  'the socket and the server’s version are numbers',
  withPq(pq => {
    assert.ok(pq.socket() > 0)
    assert.ok(pq.serverVersion() >= 150000)
  }),
)

test(
  'exec() leaves rows, columns, NULLs and origins to be read',
  withPq(pq => {
    pq.exec('select * from people')
    assert.equal(pq.resultStatus(), 'PGRES_TUPLES_OK')
    assert.deepEqual([pq.ntuples(), pq.nfields()], [3, 2])
    assert.deepEqual([pq.fname(0), pq.fname(1), pq.fname(2)], ['name', 'age', null])
    assert.deepEqual([pq.ftype(0), pq.ftype(1)], [25, 23])
    assert.equal(pq.getvalue(0, 0), 'ada')
    assert.equal(pq.getvalue(0), 'ada')
    assert.equal(pq.getvalue(1, 1), '41')
    assert.deepEqual([pq.getvalue(2, 0), pq.getisnull(2, 0)], ['', false])
    assert.deepEqual([pq.getvalue(2, 1), pq.getisnull(2, 1)], ['', true])
    assert.notEqual(pq.ftable(0), 0)
    assert.deepEqual([pq.ftablecol(0), pq.ftablecol(1)], [1, 2])
    pq.exec('select now() as moment')
    assert.deepEqual([pq.ftable(0), pq.ftablecol(0), pq.ftype(0)], [0, 0, 1184])
    for (let i = 0; i < 3; i++) pq.clear()
  }),
)

test(
  'text of any length and script comes back as it went',
  withPq(pq => {
    for (const text of [
      '',
      'café ☕ 家',
      '𝄞'.repeat(700),
      'x'.repeat(1_021),
      'é'.repeat(511),
      'y'.repeat(100_000),
    ]) {
      pq.execParams('select $1::text', [text])
      assert.equal(pq.getvalue(0, 0), text)
      pq.exec(`select '${text}'::text`)
      assert.equal(pq.getvalue(0, 0), text)
    }
  }),
)

test(
  'parameters: a string, a number, a boolean, null and undefined, many at once',
  withPq(pq => {
    pq.execParams('select $1::text, $2::int, $3::bool, $4::text, $5::text', [
      'Ada',
      32,
      true,
      null,
      undefined,
    ])
    assert.deepEqual(row(pq), ['Ada', '32', 't', null, null])
    const many: Parameter[] = Array.from({ length: 300 }, (_, i) =>
      i % 7 === 0 ? null : `value ${i}`.repeat(i % 40),
    )
    pq.execParams(`select ${many.map((_, i) => `$${i + 1}::text`).join(',')}`, many)
    assert.deepEqual(row(pq), many)
    assert.throws(
      () => pq.execParams('select $1', 'Ada' as unknown as string[]),
      /must be an array/,
    )
  }),
)

test(
  'a row inserted says so in cmdStatus() and cmdTuples()',
  withPq(pq => {
    pq.execParams('insert into people values ($1, $2) returning *', ['barkley', 4])
    assert.equal(pq.resultErrorMessage(), '')
    assert.deepEqual([pq.ntuples(), pq.cmdStatus(), pq.cmdTuples()], [1, 'INSERT 0 1', '1'])
  }),
)

test(
  'prepare(), execPrepared() and describePrepared() belong together',
  withPq(pq => {
    pq.prepare('by_name', 'select $1::text as name', 1)
    assert.equal(pq.resultErrorMessage(), '')
    assert.equal(pq.resultStatus(), 'PGRES_COMMAND_OK')
    pq.execPrepared('by_name', ['Ada'])
    assert.deepEqual([pq.ntuples(), pq.nfields(), pq.getvalue(0, 0)], [1, 1, 'Ada'])
    pq.describePrepared('by_name')
    assert.deepEqual([pq.nparams(), pq.paramtype(0), pq.nfields()], [1, 25, 1])
    assert.deepEqual([pq.fname(0), pq.ftype(0)], ['name', 25])
    assert.throws(() => pq.execPrepared('by_name', 'Ada' as unknown as string[]))
    assert.throws(() => (pq as unknown as { prepare(name: string): void }).prepare('short'))
    assert.throws(() => pq.sendQueryPrepared('by_name', 'Ada' as unknown as string[]))
  }),
)

test(
  'an error of the server carries all its fields',
  withPq(pq => {
    pq.exec('select now()')
    assert.equal(pq.errorMessage(), '')
    assert.deepEqual(pq.resultErrorFields(), {})
    pq.exec('insert into people values (1, now())')
    assert.match(pq.errorMessage(), /column "age" is of type integer/)
    const fields = pq.resultErrorFields()!
    assert.equal(fields['severity'], 'ERROR')
    assert.equal(fields['sqlState'], '42804')
    assert.match(
      fields['messagePrimary']!,
      /is of type integer but expression is of type timestamp/,
    )
    assert.equal(fields['messageHint'], 'You will need to rewrite or cast the expression.')
    assert.equal(fields['statementPosition'], '31')
    assert.equal(fields['sourceFile'], 'parse_target.c')
    assert.ok(Number(fields['sourceLine']) > 0)
    assert.equal(fields['sourceFunction'], 'transformAssignedExpr')
    for (const name of [
      'messageDetail',
      'internalQuery',
      'context',
      'tableName',
      'constraintName',
    ]) {
      assert.equal(fields[name], undefined)
    }
    pq.exec(
      'create temp table once(id int constraint only_once primary key); insert into once values (1), (1)',
    )
    const { tableName, constraintName, messageDetail } = pq.resultErrorFields()!
    assert.deepEqual([tableName, constraintName], ['once', 'only_once'])
    assert.match(messageDetail!, /already exists/)
  }),
)

test(
  'escaping',
  withPq(pq => {
    assert.equal(pq.escapeLiteral('bang'), "'bang'")
    assert.equal(pq.escapeLiteral("'; drop table people;"), "'''; drop table people;'")
    assert.equal(pq.escapeIdentifier('ba"ng'), '"ba""ng"')
    assert.equal(pq.escapeLiteral(''), '')
  }),
)

test(
  'the transaction’s state: idle, inside, failed, idle again',
  withPq(pq => {
    assert.equal(pq.transactionStatus(), 0)
    pq.exec('begin')
    assert.equal(pq.transactionStatus(), 2)
    pq.exec('select from no_such_table')
    assert.equal(pq.transactionStatus(), 3)
    pq.exec('rollback')
    assert.equal(pq.transactionStatus(), 0)
  }),
)

test(
  'non-blocking is off at first and can be turned on and off',
  withPq(pq => {
    assert.equal(pq.isNonBlocking(), false)
    assert.equal(pq.setNonBlocking(true), true)
    assert.equal(pq.isNonBlocking(), true)
    assert.equal(pq.setNonBlocking(false), true)
    assert.equal(pq.isNonBlocking(), false)
  }),
)

test(
  'asynchronous: a simple statement, one with parameters, a prepared one',
  withPq(async pq => {
    assert.ok(pq.setNonBlocking(true))
    await new Promise<void>(resolve => pq.writable(resolve))
    assert.ok(pq.sendQuery('select 1'))
    await oneAnswer(pq)
    assert.deepEqual([pq.ntuples(), pq.getvalue(0, 0)], [1, '1'])
    assert.ok(pq.sendQueryParams('select $1::text', ['Ada']))
    await oneAnswer(pq)
    assert.equal(pq.getvalue(0, 0), 'Ada')
    assert.ok(pq.sendPrepare('later', 'select $1::text', 1))
    await oneAnswer(pq)
    assert.equal(pq.ntuples(), 0)
    assert.ok(pq.sendQueryPrepared('later', ['Alan']))
    await oneAnswer(pq)
    assert.equal(pq.getvalue(0, 0), 'Alan')
  }),
)

test(
  'asynchronous: three statements in a row, each of a thousand rows',
  withPq(async pq => {
    for (let i = 0; i < 3; i++) {
      assert.ok(pq.sendQuery('select * from generate_series(1, 1000)'))
      await oneAnswer(pq)
      assert.equal(pq.ntuples(), 1000)
    }
  }),
)

test(
  'a statement larger than the socket takes flushes bit by bit while the answer is read',
  withPq(async pq => {
    assert.ok(pq.setNonBlocking(true))
    const size = 12_000_000
    assert.ok(pq.sendQueryParams('select length($1::text)', ['z'.repeat(size)]))
    let waits = 0
    while (pq.flush() === 1) {
      waits++
      await new Promise<void>(resolve => pq.writable(resolve))
    }
    assert.ok(waits > 0)
    await answered(pq)
    assert.ok(pq.getResult())
    assert.equal(pq.getvalue(0, 0), String(size))
  }),
)

test(
  'reading and writing are watched at the same time',
  withPq(async pq => {
    let reads = 0
    const onReadable = () => {
      reads++
      pq.consumeInput()
    }
    pq.on('readable', onReadable)
    pq.startReader()
    await new Promise<void>(resolve => pq.writable(resolve)) // npm libpq loses the reader here
    pq.sendQuery('select 1')
    pq.flush()
    for (let i = 0; i < 1_000 && reads === 0; i++) await sleep(5)
    assert.ok(reads > 0)
  }),
)

test(
  'COPY in takes rows, and ends as failed when it is told why',
  withPq(pq => {
    pq.exec('copy people from stdin')
    assert.equal(pq.resultStatus(), 'PGRES_COPY_IN')
    assert.equal(pq.putCopyData(Buffer.from('bob\t100\n')), 1)
    assert.equal(pq.putCopyData(Buffer.alloc(0)), 1)
    assert.equal(pq.putCopyEnd(), 1)
    while (pq.getResult());
    pq.exec('select count(*) from people')
    assert.equal(pq.getvalue(0, 0), '4')
    pq.exec('copy people from stdin')
    assert.equal(pq.putCopyData(Buffer.from('carl\t1\n')), 1)
    assert.equal(pq.putCopyEnd('changed my mind'), 1)
    while (pq.getResult());
    assert.match(pq.errorMessage(), /changed my mind/)
    pq.exec('select count(*) from people')
    assert.equal(pq.getvalue(0, 0), '4')
  }),
)

test(
  'COPY out gives a Buffer for each row, then -1',
  withPq(pq => {
    pq.exec('copy people to stdout')
    assert.equal(pq.resultStatus(), 'PGRES_COPY_OUT')
    for (const line of ['ada\t36\n', 'alan\t41\n', '\t\\N\n']) {
      const bytes = pq.getCopyData(false)
      assert.ok(Buffer.isBuffer(bytes))
      assert.equal(bytes.toString(), line)
    }
    assert.equal(pq.getCopyData(), -1)
  }),
)

test('notifications arrive with channel, text and sender', async () => {
  const [listener, speaker] = [await openPq(url), await openPq(url)]
  listener.exec('listen news')
  assert.equal(listener.notifies(), undefined)
  speaker.exec("notify news, 'fresh'")
  listener.exec('select 1')
  const news = listener.notifies()!
  assert.deepEqual([news.relname, news.extra], ['news', 'fresh'])
  assert.ok(news.be_pid > 0)
  assert.equal(listener.notifies(), undefined)
  listener.finish()
  speaker.finish()
})

test(
  'cancel() stops the running statement and leaves the connection usable',
  withPq(async pq => {
    assert.ok(pq.sendQuery('select pg_sleep(8)'))
    await postgres.untilRuns('pg_sleep(8)') // a request that overtakes its statement cancels nothing
    assert.equal(pq.cancel(), true)
    assert.ok(pq.getResult())
    assert.equal(pq.resultErrorFields()!['sqlState'], '57014')
    assert.equal(pq.getResult(), false)
    pq.exec('select 1')
    assert.equal(pq.getvalue(0, 0), '1')
  }),
)

test(
  'pipeline mode: enter, three statements, one sync, results in order, exit',
  withPq(async pq => {
    assert.equal(pq.pipelineModeSupported(), true)
    assert.deepEqual([PQ.PIPELINE_OFF, PQ.PIPELINE_ON, PQ.PIPELINE_ABORTED], [0, 1, 2])
    assert.equal(pq.pipelineStatus(), PQ.PIPELINE_OFF)
    assert.equal(pq.enterPipelineMode(), true)
    assert.equal(pq.pipelineStatus(), PQ.PIPELINE_ON)
    pq.setNonBlocking(true)
    for (const value of ['1', '2', '3']) assert.ok(pq.sendQueryParams('select $1::int', [value]))
    assert.equal(pq.sendFlushRequest(), true)
    assert.equal(pq.pipelineSync(), true)
    const { values, statuses } = await pipelineAnswers(pq)
    assert.deepEqual(values, ['1', '2', '3'])
    assert.equal(statuses.at(-1), 'PGRES_PIPELINE_SYNC')
    assert.equal(pq.exitPipelineMode(), true)
    assert.equal(pq.pipelineStatus(), PQ.PIPELINE_OFF)
  }),
)

test(
  'pipeline mode: a statement after an error is skipped, and the sync ends it',
  withPq(async pq => {
    pq.enterPipelineMode()
    pq.setNonBlocking(true)
    pq.sendQueryParams('select $1::int', ['1'])
    pq.sendQueryParams('select 1/0', [])
    pq.sendQueryParams('select $1::int', ['3'])
    pq.pipelineSync()
    const { values, statuses } = await pipelineAnswers(pq)
    assert.deepEqual(values, ['1'])
    assert.deepEqual(statuses, [
      'PGRES_TUPLES_OK',
      'PGRES_FATAL_ERROR',
      'PGRES_PIPELINE_ABORTED',
      'PGRES_PIPELINE_SYNC',
    ])
    assert.equal(pq.exitPipelineMode(), true)
  }),
)

test('pipeline methods say what they need where they are missing', () => {
  const enter = PQ.prototype.enterPipelineMode.bind({} as Pq)
  assert.throws(enter, /Pipeline mode is not supported/)
})

function row(pq: Pq): (string | null)[] {
  assert.equal(pq.resultErrorMessage(), '')
  return Array.from({ length: pq.nfields() }, (_, column) =>
    pq.getisnull(0, column) ? null : pq.getvalue(0, column),
  )
}

async function oneAnswer(pq: Pq): Promise<void> {
  assert.equal(pq.flush(), 0)
  await answered(pq)
  assert.equal(pq.errorMessage(), '')
  assert.equal(pq.getResult(), true)
  assert.equal(pq.getResult(), false)
}

async function pipelineAnswers(pq: Pq): Promise<{ values: (string | null)[]; statuses: string[] }> {
  const values: (string | null)[] = []
  const statuses: string[] = []
  assert.equal(pq.flush(), 0)
  while (!statuses.includes('PGRES_PIPELINE_SYNC')) {
    await answered(pq)
    for (let misses = 0; misses < 2 && !pq.isBusy(); ) {
      if (!pq.getResult()) {
        misses++ // NULL once between two statements, twice at the end
        continue
      }
      misses = 0
      statuses.push(pq.resultStatus())
      if (pq.resultStatus() === 'PGRES_TUPLES_OK') values.push(pq.getvalue(0, 0))
    }
  }
  return { values, statuses }
}
