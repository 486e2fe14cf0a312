/** 27: connecting, cancelling, and connections that go away under a pipeline.
 *  Owns: servers, TCP servers that misbehave, child processes.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds: whatever happens, each request is answered once or onLost() is told once. */
import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { libpqInfo } from '../native-bindings/index.ts'
import { SEND } from '../native-bindings/pipeline.ts'
import {
  HAS_RELEASE_17,
  openPipeline,
  refusedOf,
  rowsOf,
  TestPipeline,
} from './helpers/native_pipeline.ts'
import type { PipelineJob } from './helpers/native_pipeline_worker.ts'
import { sharedPostgres, withPostgres } from './helpers/postgres.ts'

const ROOT = join(import.meta.dirname, '..')
const postgres = await sharedPostgres()
const { url } = postgres

async function problemOf(t: TestContext, conninfo: string): Promise<string | undefined> {
  const opened = new TestPipeline()
  t.after(() => opened.pipeline.finish())
  const problem = await opened.connect(conninfo)
  assert.deepEqual(opened.connects, [problem])
  const status = opened.pipeline.run(1, 'select 1')
  assert.equal(status, problem === undefined ? SEND.DONE : SEND.REFUSED)
  opened.pipeline.finish()
  return problem
}

/** A TCP server on a port of its own that does `greet` with each connection. */
async function withServer(
  greet: (socket: Socket) => void,
  use: (port: number) => Promise<void>,
): Promise<void> {
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    sockets.add(socket.on('error', () => {}))
    greet(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    await use((server.address() as { port: number }).port)
  } finally {
    for (const socket of sockets) socket.destroy()
    server.close()
  }
}

// ── connecting ──────────────────────────────────────────────────────────────────────────────────────────────────────

test('connect() says what is wrong, later, once: bad string, nobody there, no such host or database', async t => {
  for (const [conninfo, words] of [
    ['no_conninfo', /missing "="/],
    ['host=/nowhere', /No such file/],
    ['host=nobody.invalid', /could not translate host name "nobody.invalid"/],
    ['host=127.0.0.1 port=1', /refused/],
    [postgres.urlOf('no_such_database'), /"no_such_database" does not exist/],
    [`${url}&options=-cnosuch%3D1`, /nosuch/],
  ] as const) {
    assert.match((await problemOf(t, conninfo))!, words)
  }
})

test('a wrong password is the server’s own words, the right one opens', async t => {
  await withPostgres(async own => {
    const admin = await own.admin()
    await admin.query("create role secret login password 'right'")
    const file = join(own.server.dataDir, 'pg_hba.conf')
    writeFileSync(file, `local all secret scram-sha-256\n${readFileSync(file, 'utf8')}`)
    await admin.query('select pg_reload_conf()')
    const as = (password: string) => own.url.replace('postgres@', `secret:${password}@`)
    // Until the server has read it anew, nobody needs a password.
    for (let i = 0; i < 500 && (await problemOf(t, as('wrong'))) === undefined; i++) await sleep(10)
    assert.match((await problemOf(t, as('wrong')))!, /password authentication failed/)
    assert.equal(await problemOf(t, as('right')), undefined)
  })
})

test('connect_timeout ends an attempt that nobody answers; finish() ends it without a word', async t => {
  await withServer(
    () => {},
    async port => {
      const startMs = performance.now()
      const target = `host=127.0.0.1 port=${port} user=x`
      assert.match((await problemOf(t, `${target} connect_timeout=1`))!, /timeout/)
      const tookMs = performance.now() - startMs
      assert.ok(tookMs > 900 && tookMs < 5_000, `took ${tookMs} ms`)
      const opened = new TestPipeline()
      opened.pipeline.connect(target)
      await sleep(20)
      opened.pipeline.finish()
      await sleep(50)
      assert.deepEqual(opened.connects, [])
    },
  )
})

test('a server that hangs up in the middle of the greeting is an error, not a wait', async t => {
  await withServer(
    socket => socket.once('data', () => socket.destroy()),
    async port => {
      assert.match((await problemOf(t, `host=127.0.0.1 port=${port} user=x`))!, /closed|reset/)
    },
  )
})

test('a list of hosts is tried in order until one answers, names among them', async t => {
  const socket = encodeURIComponent(postgres.server.socketDir)
  for (const dead of ['%2Fnowhere', 'nobody.invalid', 'localhost']) {
    const list = `postgresql://postgres@/postgres?host=${dead},${socket}&port=1,${postgres.server.port}`
    assert.equal(await problemOf(t, list), undefined)
  }
})

test('another connect() takes the place of one under way; a finished pipeline connects again', async t => {
  const opened = new TestPipeline()
  t.after(() => opened.pipeline.finish())
  opened.pipeline.connect('host=127.0.0.1 port=1')
  assert.equal(await opened.connect(url), undefined)
  assert.equal(opened.connects.length, 1)
  opened.pipeline.define(0, 'kept', 'select $1::int')
  assert.deepEqual(rowsOf(await opened.execute(0, [1])).values, [1])
  opened.pipeline.finish()
  assert.equal(await opened.connect(url), undefined)
  assert.deepEqual(rowsOf(await opened.execute(0, [2])).values, [2])
})

// ── cancelling ──────────────────────────────────────────────────────────────────────────────────────────────────────

test('cancel() stops what runs; what was answered before and waits behind is unharmed', async t => {
  const opened = await openPipeline(t, url)
  const answers = [
    opened.run('select 1'),
    opened.run('select pg_sleep(30)'),
    opened.run('select 2'),
  ]
  await answers[0]
  await postgres.untilRuns('pg_sleep(30)')
  assert.equal(await opened.cancel(), undefined)
  const [first, slept, last] = await Promise.all(answers)
  assert.deepEqual(rowsOf(first!).values, [1])
  assert.equal(refusedOf(slept!).sqlState, '57014')
  assert.deepEqual(rowsOf(last!).values, [2])
})

test('cancel() of an idle connection does nothing, many at once neither', async t => {
  const opened = await openPipeline(t, url)
  const said = await Promise.all(Array.from({ length: 10 }, () => opened.cancel()))
  assert.deepEqual(new Set(said), new Set([undefined]))
  await sleep(50)
  assert.deepEqual(rowsOf(await opened.run('select 1')).values, [1])
})

test('cancel() calls back later, and also when the pipeline is finished meanwhile', async t => {
  const opened = await openPipeline(t, url)
  let isSent = false
  const sent = new Promise<string | undefined>(resolve =>
    opened.pipeline.cancel(problem => {
      isSent = true
      resolve(problem)
    }),
  )
  assert.equal(isSent, false)
  opened.pipeline.finish()
  assert.equal(await sent, undefined)
})

test('a cancellation that nobody takes is given up after two seconds, and the loop runs meanwhile', async t => {
  if (!HAS_RELEASE_17) return t.skip('this libpq cancels while the thread waits')
  await withProxy(async host => {
    const opened = await openPipeline(t, host)
    let ticks = 0
    const ticking = setInterval(() => ticks++, 10)
    const startMs = performance.now()
    assert.match((await opened.cancel())!, /timeout/)
    const tookMs = performance.now() - startMs
    clearInterval(ticking)
    assert.ok(tookMs > 1_900 && tookMs < 6_000, `took ${tookMs} ms`)
    assert.ok(ticks > 40, `${ticks} ticks`)
    assert.deepEqual(rowsOf(await opened.run('select 1')).values, [1])
  })
})

test('a thread that ends while a cancellation waits for an answer does not wait for it', async t => {
  if (!HAS_RELEASE_17) return t.skip('this libpq cancels while the thread waits')
  await withProxy(async host => {
    const workerData: PipelineJob = { job: 'pipeline cancelling', url: host, count: 1 }
    const script = new URL('./helpers/native_pipeline_worker.ts', import.meta.url)
    const worker = new Worker(script, { workerData })
    await once(worker, 'message')
    const startMs = performance.now()
    await worker.terminate()
    const tookMs = performance.now() - startMs
    assert.ok(tookMs < 1_700, `took ${tookMs} ms`)
  })
})

/** A TCP port that lets one session through to the server, and leaves every later connection without an answer. */
async function withProxy(use: (conninfo: string) => Promise<void>): Promise<void> {
  const socketFile = join(postgres.server.socketDir, `.s.PGSQL.${postgres.server.port}`)
  let isFirst = true
  await withServer(
    socket => {
      if (!isFirst) return
      isFirst = false
      const behind = connect(socketFile)
      behind.on('error', () => socket.destroy())
      socket.on('close', () => behind.destroy())
      socket.pipe(behind).pipe(socket)
    },
    port =>
      use(
        `host=127.0.0.1 port=${port} user=postgres dbname=postgres sslmode=disable gssencmode=disable`,
      ),
  )
}

// ── a server that goes away ─────────────────────────────────────────────────────────────────────────────────────────

test('a terminated backend with a hundred in flight: each is answered or lost, then one onLost()', async t => {
  const own = await postgres.createDatabase()
  const opened = await openPipeline(t, own)
  opened.pipeline.define(0, 'slow', 'select $1::int, pg_sleep(0.002)')
  const answers = Array.from({ length: 100 }, (_, i) => opened.execute(0, [i]))
  await opened.until(() => opened.order.length > 3)
  const { pathname } = new URL(own.replace('@/', '@localhost/'))
  await postgres.terminateBackends(pathname.slice(1))
  const kinds = (await Promise.all(answers)).map(({ kind }) => kind)
  const answered = kinds.lastIndexOf('rows') + 1
  assert.ok(answered > 3 && answered < 100, `${answered} were answered`)
  assert.deepEqual(new Set(kinds.slice(0, answered)), new Set(['rows']))
  assert.deepEqual(new Set(kinds.slice(answered)), new Set(['lost']))
  assert.deepEqual(opened.lost, [['terminating connection due to administrator command', '57P01']])
  assert.deepEqual([opened.pipeline.pending, opened.pipeline.transactionStatus()], [0, 4])
  assert.equal(opened.pipeline.run(1, 'select 1'), SEND.REFUSED)
  assert.equal(await opened.connect(own), undefined)
  assert.deepEqual(rowsOf(await opened.execute(0, [5])).values[0], 5)
})

test('an idle pipeline learns at once that its server is gone, with the server’s words, exactly once', async t => {
  const own = await postgres.createDatabase('idle')
  const opened = await openPipeline(t, own)
  await opened.run('select 1')
  await postgres.terminateBackends('idle')
  await opened.until(() => opened.lost.length > 0)
  await sleep(50)
  assert.deepEqual(opened.lost, [['terminating connection due to administrator command', '57P01']])
})

test('a killed server: what was out is lost, connecting fails, and works after the restart', async t => {
  await withPostgres(async own => {
    const opened = await openPipeline(t, own.url)
    const idle = await openPipeline(t, own.url)
    const answers = [
      opened.run('select 1'),
      opened.run('select pg_sleep(30)'),
      opened.run('select 2'),
    ]
    await answers[0]
    await own.server.kill()
    assert.deepEqual(
      (await Promise.all(answers)).map(({ kind }) => kind),
      ['rows', 'lost', 'lost'],
    )
    await idle.until(() => idle.lost.length > 0)
    assert.match(opened.lost[0]![0], /closed the connection|terminating|reset/)
    assert.match((await problemOf(t, own.url))!, /No such file|refused|starting/)
    await own.restart()
    assert.equal(await opened.connect(own.url), undefined)
    assert.deepEqual(rowsOf(await opened.run('select 3')).values, [3])
    await own.restart()
    await opened.until(() => opened.lost.length === 2)
    assert.equal(opened.lost[1]![1], '57P01')
  })
})

test('a server that goes while a large request is half sent is noticed', async t => {
  const own = await postgres.createDatabase('half_sent')
  const opened = await openPipeline(t, own)
  const sleeping = opened.run('select pg_sleep(30)')
  opened.pipeline.define(0, 'much', 'select length($1::text)')
  const much = opened.execute(0, ['m'.repeat(12_000_000)])
  const behind = opened.run('select 1')
  await sleep(50)
  await postgres.terminateBackends('half_sent')
  const kinds = (await Promise.all([sleeping, much, behind])).map(({ kind }) => kind)
  assert.deepEqual(kinds, ['lost', 'lost', 'lost'])
  assert.equal(opened.lost.length, 1)
})

test('requests for a connection that died unnoticed are lost, or before libpq 17 not taken; none is forgotten', async t => {
  // An older libpq writes at once, and nothing is written to a socket that the server has closed.
  const expected = libpqInfo()!.features.pipelineSend ? 'lost' : 'not taken'
  for (const size of [10, 10_000_000]) {
    const opened = await openPipeline(t, url)
    process.kill(opened.pipeline.backendPid(), 'SIGTERM')
    execFileSync('sleep', ['0.2']) // and the loop has not run: nothing was told
    opened.pipeline.define(0, 'much', 'select length($1::text)')
    const taken = (send: () => Promise<{ kind: string }>): Promise<{ kind: string }> => {
      try {
        return send()
      } catch {
        return Promise.resolve({ kind: 'not taken' })
      }
    }
    const answers = [
      taken(() => opened.execute(0, ['m'.repeat(size)])),
      taken(() => opened.run('select 1')),
    ]
    opened.pipeline.flush()
    for (const { kind } of await Promise.all(answers)) assert.equal(kind, expected)
    while (opened.lost.length === 0) await new Promise(setImmediate)
    assert.equal(opened.lost.length, 1)
  }
})

test('both sides full: answers are read while requests are written', async t => {
  const opened = await openPipeline(t, url)
  opened.pipeline.define(0, 'echo', 'select $1::text')
  const text = 'e'.repeat(500_000)
  const answers = await Promise.all(Array.from({ length: 40 }, () => opened.execute(0, [text])))
  for (const answer of answers) assert.equal(rowsOf(answer).values[0], text)
})

test('an answer that came in while a request was written does not wait for that request’s own', async t => {
  const opened = await openPipeline(t, url)
  opened.pipeline.define(0, 'slow', 'select length($1::text), pg_sleep(2)')
  const first = opened.run('select 1')
  opened.pipeline.flush()
  execFileSync('sleep', ['0.1']) // the answer is in the socket
  const slow = opened.execute(0, ['m'.repeat(300_000)]) // reads it, since the socket is full
  execFileSync('sleep', ['0.1'])
  opened.pipeline.flush() // and now takes the rest: nothing is left to wait for but the slow answer
  const startMs = performance.now()
  await first
  assert.ok(performance.now() - startMs < 1_500)
  assert.equal(rowsOf(await slow).values[0], 300_000)
})

// ── the thread’s life ───────────────────────────────────────────────────────────────────────────────────────────────

test('an idle pipeline does not keep the process; one that waits does; a forgotten one is closed', async () => {
  const script = `
    import { readdirSync } from 'node:fs'
    import { TestPipeline } from './test/helpers/native_pipeline.ts'
    const url = ${JSON.stringify(url)}
    const descriptors = () => readdirSync('/proc/self/fd').length
    const opened = new TestPipeline()
    await opened.connect(url)
    const before = descriptors()
    await (async () => { for (let i = 0; i < 10; i++) await new TestPipeline().connect(url) })()
    const full = descriptors()
    for (let i = 0; i < 200 && descriptors() > before; i++) { gc(); await new Promise(r => setTimeout(r, 10)) }
    console.log(full - before >= 10, descriptors() - before)
    opened.run('select pg_sleep(0.3)').then(() => console.log('answered'))`
  const { code, stdout } = await run(['--expose-gc', '--input-type=module', '-e', script])
  assert.deepEqual({ code, stdout }, { code: 0, stdout: 'true 0\nanswered\n' })
})

test('a process exits cleanly with pipelines open, busy, connecting and cancelling', async () => {
  const script = `
    import { TestPipeline } from './test/helpers/native_pipeline.ts'
    const url = ${JSON.stringify(url)}
    const busy = new TestPipeline(); await busy.connect(url)
    for (let i = 0; i < 100; i++) busy.run('select pg_sleep(8)')
    busy.cancel()
    new TestPipeline().connect(url)
    setImmediate(() => process.exit(7))`
  assert.equal((await run(['--input-type=module', '-e', script])).code, 7)
})

interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

function run(args: string[]): Promise<Ended> {
  return new Promise(resolve => {
    const child = execFile(
      process.execPath,
      args,
      { cwd: ROOT, timeout: 30_000 },
      (_, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    )
  })
}
