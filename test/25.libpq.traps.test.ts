/** 25: what goes wrong between libpq, Node and OpenSSL, each case held by a test.
 *  Owns: one server, TCP servers that misbehave, workers and children.   Thread: main and others.
 *  Runs:   beside others, since it mostly waits.
 *  Holds: nothing here is simulated but the servers that never answer. */
import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { startPostgres } from '../engine/dev/embedded_postgres.ts'
import { configureLibpq, libpqInfo, libpqProblem, requireLibpq } from '../native-bindings/index.ts'
import search from '../native-bindings/libpq_search.cjs'
import load from '../native-bindings/load.cjs'
import { freePort } from './helpers/free_port.ts'
import {
  answered,
  end,
  openPgNative,
  openPq,
  type PgNative,
  PQ,
  type Pq,
  query,
} from './helpers/native_clients.ts'
import type { WorkerJob } from './helpers/native_worker.ts'
import { sharedPostgres, withPostgres } from './helpers/postgres.ts'
import { temporaryFolder } from './helpers/postgres_template.ts'

const ROOT = join(import.meta.dirname, '..')
const postgres = await sharedPostgres()
const { url } = postgres
const native = load.loadNative()
const embedded = search.embeddedLibpq(join(ROOT, 'native-bindings'))

// ── connecting ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** A TCP server that takes connections and says nothing. */
async function withSilentServer(use: (port: number) => Promise<void>): Promise<void> {
  const sockets = new Set<Socket>()
  const server = createServer(socket => sockets.add(socket.on('error', () => {})))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    await use((server.address() as { port: number }).port)
  } finally {
    for (const socket of sockets) socket.destroy()
    server.close()
  }
}

test('connect_timeout ends an attempt that nobody answers, and the event loop runs meanwhile', async () => {
  await withSilentServer(async port => {
    let ticks = 0
    const ticking = setInterval(() => ticks++, 10)
    const startMs = performance.now()
    await assert.rejects(openPq(`host=127.0.0.1 port=${port} user=x connect_timeout=1`), /timeout/)
    const tookMs = performance.now() - startMs
    clearInterval(ticking)
    assert.ok(tookMs > 900 && tookMs < 5_000, `took ${tookMs} ms`)
    assert.ok(ticks > 20, `${ticks} ticks`)
  })
})

test('finish() while connecting calls back once, with an error', async () => {
  await withSilentServer(async port => {
    const pq = new PQ()
    const errors: (Error | null)[] = []
    pq.connect(`host=127.0.0.1 port=${port} user=x`, error => errors.push(error))
    await sleep(30)
    pq.finish()
    await sleep(30)
    assert.equal(errors.length, 1)
    assert.match(errors[0]!.message, /finished while/)
    assert.equal(pq.socket(), -1)
  })
})

test('a list of hosts is tried in order until one answers, names among them', async () => {
  const socket = encodeURIComponent(postgres.server.socketDir)
  for (const dead of ['%2Fnowhere', 'nobody.invalid', 'localhost']) {
    const pq = await openPq(
      `postgresql://postgres@/postgres?host=${dead},${socket}&port=1,${postgres.server.port}`,
    )
    pq.exec('select 1')
    assert.equal(pq.getvalue(0, 0), '1')
    pq.finish()
  }
})

test('a server that hangs up in the middle of the greeting is an error, not a wait', async () => {
  const server = createServer(socket => socket.once('data', () => socket.destroy()))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  await assert.rejects(openPq(`host=127.0.0.1 port=${port} user=x`), /closed|reset/)
  server.close()
})

test('a wrong password and an unknown database are the server’s own words', async () => {
  await withPostgres(async own => {
    const admin = await own.admin()
    await admin.query("create role secret login password 'right'")
    const file = join(own.server.dataDir, 'pg_hba.conf')
    writeFileSync(file, `local all secret scram-sha-256\n${readFileSync(file, 'utf8')}`)
    await admin.query('select pg_reload_conf()')
    const as = (password: string) => own.url.replace('postgres@', `secret:${password}@`)
    // Until the server has read it anew, nobody needs a password.
    const isOpen = async () => (await openPq(as('wrong'))).finish() === undefined
    for (let i = 0; i < 500 && (await isOpen().catch(() => false)); i++) await sleep(10)
    await assert.rejects(openPq(as('wrong')), /password authentication failed for user "secret"/)
    const pq = await openPq(as('right'))
    pq.finish()
    await assert.rejects(openPq(own.urlOf('no_such_database')), /"no_such_database" does not exist/)
  })
})

test('the connection speaks UTF-8 whatever the string asks for', async () => {
  const pq = await openPq(`${url}&client_encoding=LATIN1`)
  pq.execParams('select $1::text', ['家'])
  assert.equal(pq.getvalue(0, 0), '家')
  pq.finish()
})

// ── parameters ──────────────────────────────────────────────────────────────────────────────────────────────────────

test('an empty Buffer is an empty bytea and not NULL', async () => {
  const pq = await openPq(url)
  for (const empty of [Buffer.alloc(0), Buffer.from([]), new Uint8Array(0)]) {
    pq.execParams('select $1::bytea is null, length($1::bytea)', [empty])
    assert.deepEqual([pq.getvalue(0, 0), pq.getvalue(0, 1)], ['f', '0'])
  }
  pq.finish()
})

test('a Buffer goes as binary: all 256 bytes come back, also from a view into a larger one', async () => {
  const client = await openPgNative(url)
  const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
  const [row] = await query(client, 'select $1::bytea as a, $2::bytea as b, $3::text as c', [
    all,
    all.subarray(10, 20),
    'text',
  ])
  assert.deepEqual(row, { a: all, b: Buffer.from(all.subarray(10, 20)), c: 'text' })
  await end(client)
})

test('a NUL character is refused before it would cut the text short', async () => {
  const pq = await openPq(url)
  assert.throws(() => pq.execParams('select $1::text', ['a\0b']), /NUL/)
  assert.throws(() => pq.exec("select 'a\0b'"), /NUL/)
  assert.throws(() => pq.execParams('select $1::text', ['x'.repeat(5_000) + '\0']), /NUL/)
  pq.finish()
})

test('a parameter whose toString() throws throws, and one that finishes the connection does no harm', async () => {
  const pq = await openPq(url)
  const thrower = {
    toString: () => {
      throw new Error('no text of mine')
    },
  }
  const finisher = {
    toString: () => {
      pq.finish()
      return 'x'
    },
  }
  assert.throws(() => pq.execParams('select $1::text, $2::text', ['a', thrower]), /no text of mine/)
  assert.equal(
    pq.sendQueryParams('select $1::bytea, $2::text', [Buffer.from('b'), finisher]),
    false,
  )
  assert.match(pq.errorMessage(), /NULL/)
  const other = await openPq(url)
  const detacher = {
    toString: () => {
      structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
      return 'x'
    },
  }
  const bytes = new Uint8Array(64)
  other.execParams('select length($1::bytea), $2::text', [bytes, detacher])
  assert.equal(other.getvalue(0, 0), '0')
  other.finish()
})

test('more parameters than the protocol counts are refused', async () => {
  const pq = await openPq(url)
  assert.throws(() => pq.execParams('select 1', new Array(65_536).fill('1')), RangeError)
  pq.finish()
})

test('a method on a thing that is no PQ throws', () => {
  assert.throws(() => PQ.prototype.getResult.call({} as Pq), TypeError)
})

// ── a server that goes away ─────────────────────────────────────────────────────────────────────────────────────────

/** pg-native says that its connection is lost with 'error' and may leave the running query without an answer. */
function whenLost(client: PgNative, running: Promise<unknown>): Promise<Error> {
  return new Promise(resolve => {
    client.on('error', resolve)
    running.catch(resolve)
  })
}

test('a terminated backend: the client hears of it, the next query is refused, the loop goes on', async () => {
  const own = await postgres.createDatabase('doomed')
  const client = await openPgNative(own)
  const lost = whenLost(client, query(client, 'select pg_sleep(8)'))
  await postgres.untilRuns('pg_sleep(8)')
  await postgres.terminateBackends('doomed')
  assert.match((await lost).message, /terminating connection|closed the connection/)
  for (let i = 0; i < 1_000 && client.pq.socket() !== -1; i++) await sleep(5) // the reader meets the end of the stream
  assert.equal(client.pq.socket(), -1)
  await assert.rejects(query(client, 'select 1'), /connection|non-blocking/)
  await end(client)
})

test('an idle reader sees its server go, exactly once', async () => {
  const own = await postgres.createDatabase('idle')
  const client = await openPgNative(own)
  const errors: Error[] = []
  client.on('error', error => errors.push(error))
  await query(client, 'listen something')
  await postgres.terminateBackends('idle')
  for (let i = 0; i < 1_000 && errors.length === 0; i++) await sleep(10)
  await sleep(100)
  assert.equal(errors.length, 1)
  await end(client)
})

test('when libpq closes the socket its watch goes too, so that the number can be used again', async () => {
  const own = await postgres.createDatabase('reused')
  const lost = await openPq(own)
  const fd = lost.socket()
  lost.startReader()
  await postgres.terminateBackends('reused')
  while (lost.consumeInput()) await sleep(5)
  lost.startReader() // on a socket that is gone: one event, so that a reader can learn it
  await once(lost, 'readable')
  const next: Pq[] = []
  while (next.length < 10 && !next.some(pq => pq.socket() === fd)) next.push(await openPq(own))
  assert.ok(
    next.some(pq => pq.socket() === fd),
    'the descriptor was used again',
  )
  for (const pq of next) {
    pq.sendQuery('select 1')
    await answered(pq)
    pq.getResult()
    assert.equal(pq.getvalue(0, 0), '1')
    pq.finish()
  }
  lost.finish()
})

test('a killed server fails whatever waits, and connections to the restarted one work', async () => {
  await withPostgres(async own => {
    const client = await openPgNative(own.url)
    const lost = whenLost(client, query(client, 'select pg_sleep(8)'))
    await own.untilRuns('pg_sleep(8)')
    await own.server.kill()
    assert.match((await lost).message, /closed the connection|terminating/)
    await end(client)
    await assert.rejects(openPq(own.url), /No such file|refused|starting/)
    await own.restart()
    const again = await openPq(own.url)
    again.finish()
  })
})

// ── callbacks ───────────────────────────────────────────────────────────────────────────────────────────────────────

for (const job of ['throw', 'reject'] as const) {
  test(`what a callback ${job}s ends its own worker with that error, and no other`, async () => {
    const workerData: WorkerJob = { job, url, count: 1 }
    const worker = new Worker(new URL('./helpers/native_worker.ts', import.meta.url), {
      workerData,
    })
    const [error] = await once(worker, 'error')
    assert.match(error.message, /in a callback/)
    const client = await openPgNative(url)
    assert.deepEqual(await query(client, 'select 1 as one'), [{ one: 1 }])
    await end(client)
  })
}

test('an exception in a callback is an uncaughtException of its thread, which may go on', async () => {
  const script = `
    const PQ = require('libpq')
    const seen = []
    process.on('uncaughtException', error => seen.push(error.message))
    const pq = new PQ()
    pq.connect(${JSON.stringify(url)}, () => {
      pq.once('readable', () => { throw new Error('first') })
      pq.sendQuery('select 1')
      pq.startReader()
      const look = setInterval(() => {
        if (seen.length < 2) return
        clearInterval(look)
        pq.consumeInput(); pq.getResult(); seen.push(pq.getvalue(0, 0)); pq.finish()
        console.log(seen.join())
      }, 5)
      throw new Error('zeroth')
    })`
  assert.equal((await run(['-e', script])).stdout.trim(), 'zeroth,first,1')
})

test('promises and nextTicks of a callback run before the next event of the loop', async () => {
  const pq = await openPq(url)
  const order: string[] = []
  pq.sendQuery('select 1')
  pq.once('readable', () => {
    pq.stopReader()
    setImmediate(() => order.push('immediate'))
    process.nextTick(() => order.push('tick'))
    Promise.resolve().then(() => order.push('promise'))
  })
  pq.startReader()
  for (let i = 0; i < 1_000 && order.length < 3; i++) await sleep(5)
  assert.deepEqual(order, ['tick', 'promise', 'immediate'])
  pq.finish()
})

test('finish() and connect() inside a callback do not confuse the events that follow', async () => {
  const pq = await openPq(url)
  pq.sendQuery('select 1')
  pq.flush()
  await sleep(20)
  let writes = 0
  const done = new Promise<void>((resolve, reject) => {
    pq.once('readable', () => {
      pq.finish()
      pq.connect(url, error => (error ? reject(error) : resolve()))
    })
  })
  pq.startReader()
  pq.writable(() => writes++)
  await done
  assert.equal(writes, 0)
  pq.exec('select 2')
  assert.equal(pq.getvalue(0, 0), '2')
  pq.finish()
})

test('notices of the server print nothing', async () => {
  const script = `
    const PQ = require('libpq')
    const pq = new PQ(); pq.connectSync(${JSON.stringify(url)})
    pq.exec("do $$ begin raise warning 'loud'; end $$"); pq.finish()
    new PQ().connect(${JSON.stringify(url)}, function () {})`
  const { stderr } = await run(['-e', `${script}; setTimeout(() => process.exit(), 100)`])
  assert.equal(stderr, '')
})

// ── which libpq ─────────────────────────────────────────────────────────────────────────────────────────────────────

const KEPT_APART = { deepBind: true, tls: true }
const AS_IT_IS = { deepBind: false, tls: true }
const WITHOUT_TLS = { deepBind: false, tls: false }
for (const [library, node, interposed, canDeepBind, expected] of [
  [3, 3, false, true, AS_IT_IS],
  [3, 3, true, true, AS_IT_IS],
  [0, 3, true, true, AS_IT_IS],
  [-1, 3, false, true, AS_IT_IS],
  [1, 3, false, true, KEPT_APART],
  [4, 3, false, true, KEPT_APART],
  [1, 3, true, true, WITHOUT_TLS],
  [1, 3, false, false, WITHOUT_TLS],
] as const) {
  const malloc = interposed ? 'a preloaded malloc' : 'the usual malloc'
  test(`OpenSSL ${library} beside node’s ${node}, ${malloc}, deep binding ${canDeepBind}`, () => {
    assert.deepEqual(native.libpqPolicy(library, node, interposed, canDeepBind), expected)
  })
}

test('the OpenSSL major is read from the file before it is loaded', t => {
  assert.equal(native.libraryOpensslMajor('/nowhere'), -1)
  assert.equal(native.libraryOpensslMajor(join(ROOT, 'package.json')), -1)
  assert.equal(native.libraryOpensslMajor(join(ROOT, 'native-bindings/build/hearth.node')), 0)
  if (embedded === undefined) return t.skip('the embedded Postgres package is not installed')
  assert.equal(native.libraryOpensslMajor(embedded), 1)
  const folder = temporaryFolder()
  t.after(() => rmSync(folder, { recursive: true }))
  const broken = join(folder, 'broken.so')
  for (const bytes of [64, 65, 200, 1_000, 4_096, 200_000]) {
    writeFileSync(broken, readFileSync(embedded).subarray(0, bytes))
    assert.ok(native.libraryOpensslMajor(broken) <= 1)
  }
})

test('libpqInfo() says which library the process uses, and naming another is too late', () => {
  const info = libpqInfo()!
  assert.ok(existsSync(info.path))
  assert.ok(info.version >= 140_000)
  assert.equal(info.features.pipeline, true)
  assert.equal(requireLibpq().path, info.path)
  assert.equal(libpqProblem(), undefined)
  assert.equal(configureLibpq(['/somewhere/else.so']), false)
  assert.equal(libpqInfo()!.path, info.path)
})

test('a configured library comes first, and one that does not load is named in `skipped`', async t => {
  if (embedded === undefined) return t.skip('the embedded Postgres package is not installed')
  const script = `
    import { configureLibpq, libpqInfo } from './native-bindings/index.ts'
    const isAccepted = configureLibpq(['/nowhere/libpq.so.5', ${JSON.stringify(embedded)}])
    console.log(JSON.stringify({ isAccepted, ...libpqInfo() }))`
  const { stdout } = await run(['--input-type=module', '-e', script])
  const info = JSON.parse(stdout)
  assert.equal(info.isAccepted, true)
  assert.equal(info.path, embedded)
  assert.match(info.skipped, /\/nowhere\/libpq.so.5/)
  assert.equal(info.opensslMajor, 1)
  assert.equal(info.deepBind, true)
  assert.deepEqual(info.features, {
    pipeline: true,
    pipelineSend: true,
    asyncCancel: true,
    tls: true,
  })
})

test('without any libpq the error says what to install', async () => {
  const script = `
    const { loadNative } = require('./native-bindings/load.cjs')
    const said = loadNative().libpqLoad(['/nowhere/libpq.so.5', process.execPath, './native-bindings/build/hearth.node'], 3)
    console.log(said)
    try { new (loadNative().PQ)() } catch (error) { console.log(error.code) }`
  const { stdout } = await run(['-e', script])
  assert.match(stdout, /nowhere\/libpq.so.5/)
  assert.match(stdout, /hearth.node: has no PQ/)
  assert.match(stdout, /NOT_CONFIGURED/)
})

const LIBRARIES = [undefined, embedded].filter((path, at) => at === 0 || path !== undefined)
const openssl = process.env['PATH']!.split(':').some(folder => existsSync(join(folder, 'openssl')))
test('TLS works with each libpq of this machine, whatever its OpenSSL', {
  skip: openssl ? false : 'no openssl command to make a certificate with',
}, async () => {
  const folder = temporaryFolder()
  const port = await freePort()
  const server = await startPostgres({
    dataDir: join(folder, 'data'),
    port,
    settings: { fsync: 'off', listen_addresses: '127.0.0.1' },
    removeOnDeath: folder,
  })
  try {
    makeCertificate(server.dataDir)
    const admin = await openPq(server.url)
    admin.exec("create role tls login password 'pw'")
    admin.exec('alter system set ssl = on')
    admin.exec('select pg_reload_conf()')
    admin.finish()
    const tls = `host=127.0.0.1 port=${port} user=tls password=pw dbname=postgres sslmode=require`
    // Until the server has read its settings anew, it knows of no TLS.
    for (
      let i = 0;
      i < 500 &&
      (await openPq(tls).then(
        pq => pq.finish() !== undefined,
        () => true,
      ));
      i++
    )
      await sleep(10)
    for (const library of LIBRARIES) {
      const script = `
        const { loadNative } = require('./native-bindings/load.cjs')
        if (process.argv[1]) loadNative().libpqConfigure([process.argv[1]])
        const PQ = require('libpq')
        const pq = new PQ()
        pq.connect(${JSON.stringify(tls)}, error => {
          if (error) throw error
          pq.exec('select ssl from pg_stat_ssl where pid = pg_backend_pid()')
          console.log(pq.sslInUse(), pq.getvalue(0, 0))
          const sent = pq.sendQuery('select pg_sleep(8)')
          setTimeout(() => { console.log(pq.cancel(), pq.getResult(), pq.resultErrorFields().sqlState); pq.finish() }, 500)
        })`
      const { code, stdout, stderr } = await run(['-e', script, library ?? ''])
      assert.deepEqual(
        { library, code, stdout, stderr },
        { library, code: 0, stdout: 'true t\ntrue true 57014\n', stderr: '' },
      )
    }
  } finally {
    await server.stop()
    rmSync(folder, { recursive: true, force: true })
  }
})

/** A certificate for an hour of tests, owned by whoever owns the cluster. */
function makeCertificate(dataDir: string): void {
  const key = join(dataDir, 'server.key')
  const certificate = join(dataDir, 'server.crt')
  execFileSync(
    'openssl',
    [
      'req',
      '-new',
      '-x509',
      '-days',
      '1',
      '-nodes',
      '-subj',
      '/CN=localhost',
      '-out',
      certificate,
      '-keyout',
      key,
    ],
    { stdio: 'ignore' },
  )
  const { uid, gid } = statSync(dataDir)
  execFileSync('chmod', ['600', key])
  for (const file of [key, certificate]) chownSync(file, uid, gid)
}

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
