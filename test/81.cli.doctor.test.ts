/** hearth doctor against real faults: each is found, and what is said mends it.
 *  Owns:   a folder a test, one server.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { CHECKS, examine, type NamedFinding } from '../engine/cli/doctor/checks.ts'
import type { ReadPatient } from '../engine/cli/doctor/finding.ts'
import { judgeFileSystem } from '../engine/cli/doctor/places.ts'
import { judgeUnit } from '../engine/cli/doctor/service.ts'
import { loadConfig } from '../engine/config/load.ts'
import { PACKAGE_ROOT } from '../engine/paths.ts'
import { hearth, projectFolder } from './helpers/cli.ts'
import { serve } from './helpers/engine.ts'
import { sharedPostgres } from './helpers/postgres.ts'

type Env = Record<string, string>

interface Told {
  readonly code: number | null
  readonly findings: readonly NamedFinding[]
  /** Of a check: the worst status and all words. */
  of(check: string): string
}

/** What the command tells in an environment; a state folder of its own, unless one is given. */
async function doctor(t: TestContext, env: Env): Promise<Told> {
  const folder = projectFolder(t, 'hearth-doctor-')
  const own = {
    HEARTH_ENGINE_STATE_DIR: join(folder, 'state'),
    HEARTH_SOCKET: join(folder, 'hearth.sock'),
  }
  const { code, stdout } = await hearth(['doctor', '--json'], {
    cwd: folder,
    env: { ...own, ...env },
  })
  const { status, findings } = JSON.parse(stdout) as { status: string; findings: NamedFinding[] }
  assert.equal(code, status === 'fail' ? 1 : 0)
  for (const { status, mend } of findings) assert.equal(mend === undefined, status === 'ok')
  return { code, findings, of: check => wordsOf(findings, check) }
}

function wordsOf(findings: readonly NamedFinding[], check: string): string {
  const own = findings.filter(each => each.check === check)
  const status = ['fail', 'warn', 'ok'].find(each => own.some(({ status }) => status === each))
  return [status, ...own.map(({ found, mend }) => `${found} → ${mend ?? ''}`)].join(' ')
}

/** What one check has to say, made in this process. */
async function look(t: TestContext, env: Env, check: string): Promise<string> {
  const folder = projectFolder(t, 'hearth-doctor-')
  const own = { HEARTH_ENGINE_STATE_DIR: folder, HEARTH_SOCKET: join(folder, 'hearth.sock') }
  const loaded = loadConfig({ env: { ...own, ...env }, cwd: folder })
  const { name, run } = CHECKS.find(each => each.name === check)!
  const findings = await run({ loaded, refusal: undefined, root: '/' })
  for (const { status, mend } of findings) assert.equal(mend === undefined, status === 'ok')
  return wordsOf(
    findings.map(each => ({ check: name, ...each })),
    name,
  )
}

test('a host where all is well has nothing that fails, and the text says the same as the JSON', async t => {
  const engine = await serve(t)
  const env = { HEARTH_SOCKET: engine.socket, HEARTH_ENGINE_STATE_DIR: engine.stateDir }
  const told = await doctor(t, env)
  assert.equal(told.code, 0, JSON.stringify(told.findings))
  assert.match(told.of('engine'), /^ok one answers on/)
  for (const check of ['configuration', 'native binding', 'sqlite', 'libpq', 'state folder'])
    assert.match(told.of(check), /^ok /)
  const { stdout } = await hearth(['doctor'], { cwd: engine.folder, env })
  assert.match(stdout, /\n0 failed, \d+ to look at, \d+ as they should be\n$/)
})

describe('it finds', () => {
  test('a configuration that cannot be read, and looks at the rest all the same', async t => {
    const told = await doctor(t, { HEARTH_MEMORY_MAX_BYTES: 'much', HEARTH_CACHE_WARMM: '1' })
    assert.match(told.of('configuration'), /^fail .*HEARTH_MEMORY_MAX_BYTES.*much/s)
    assert.match(told.of('sqlite'), /^ok/)
    assert.equal(
      told.findings.some(({ check }) => check === 'socket'),
      false,
    )
  })

  test("a socket's path that is too long", async t => {
    const told = await doctor(t, { HEARTH_SOCKET: `/tmp/${'x'.repeat(120)}/hearth.sock` })
    assert.match(told.of('configuration'), /^fail .*at most 107.*shorter/s)
  })

  test('a file where the socket or the state folder is to be', async t => {
    const file = join(projectFolder(t), 'file')
    writeFileSync(file, '')
    const env = { HEARTH_SOCKET: file, HEARTH_ENGINE_STATE_DIR: file }
    assert.match(await look(t, env, 'socket'), /^fail .*is no socket → remove it/)
    assert.match(await look(t, env, 'state folder'), /^fail .*it is no folder/)
    const above = { HEARTH_ENGINE_STATE_DIR: join(file, 'state') }
    assert.match(await look(t, above, 'state folder'), /^fail .*is no folder/)
    assert.match(await look(t, {}, 'state folder'), /^ok .*can be written/)
  })

  test('what an engine that was killed left of its socket', async t => {
    const engine = await serve(t)
    await engine.kill()
    const env = { HEARTH_SOCKET: engine.socket, HEARTH_ENGINE_STATE_DIR: engine.stateDir }
    const told = await look(t, env, 'engine')
    assert.match(told, /^warn no engine is running.*left of its socket/)
    await engine.start()
    assert.match(await look(t, env, 'engine'), /^ok one answers/)
  })

  test('an engine that keeps the state folder, and answers elsewhere', async t => {
    const engine = await serve(t)
    const told = await look(t, { HEARTH_ENGINE_STATE_DIR: engine.stateDir }, 'engine')
    assert.match(told, new RegExp(`^fail an engine \\(pid ${engine.pid}\\) keeps`))
  })

  test('something else that listens on the socket', async t => {
    const socket = join(projectFolder(t), 'hearth.sock')
    const server = net.createServer(() => undefined).listen(socket)
    t.after(() => server.close())
    const told = await look(t, { HEARTH_SOCKET: socket }, 'engine')
    assert.match(told, /^fail what listens on .* does not answer/)
  })

  test('a password that everybody may read, and settings that make no sense together', async t => {
    const folder = projectFolder(t)
    const file = join(folder, 'hearth.toml')
    writeFileSync(
      file,
      `postgres.main.url = 'postgres://u:secret@/x?host=${folder}'
      [engine]\nsocket_mode = '0666'\n[limits]\nper_client = '100/1s'\nglobal = '100/1m'\n`,
    )
    chmodSync(file, 0o644)
    const env = { HEARTH_CONFIG: file }
    assert.match(await look(t, env, 'secrets'), /^warn .*mode 0644.*chmod 640/)
    const sense = await look(t, env, 'configuration')
    assert.match(sense, /^warn .*per_client.*socket_mode is 0666/)
    const server = await look(t, env, 'postgres')
    assert.match(server, /^fail .*→ is the server running/)
    assert.ok(!server.includes('secret'))
    chmodSync(file, 0o640)
    assert.match(await look(t, env, 'secrets'), /^ok/)
  })

  test('a disk that is too small, is memory, or cannot be written', async t => {
    const disk = join(projectFolder(t), 'disk')
    mkdirSync(disk)
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', disk], { stdio: 'pipe' })
    } catch {
      return t.skip('mounting a tmpfs needs root')
    }
    try {
      const env = { HEARTH_ENGINE_STATE_DIR: disk }
      const small = await look(t, env, 'disk space')
      assert.match(small, /^fail 4\.0 MiB free, .* 16\.0 MiB more → free some, or set/)
      assert.match(await look(t, env, 'file system'), /^warn .*tmpfs.*state_dir/)
      const less = { ...env, HEARTH_SQLITE_MAX_BYTES: '1MiB' }
      assert.match(await look(t, less, 'disk space'), /^ok/)
      execFileSync('mount', ['-o', 'remount,ro', disk], { stdio: 'pipe' })
      assert.match(await look(t, env, 'state folder'), /^fail .*read-only.*install -d/)
    } finally {
      execFileSync('umount', ['-l', disk], { stdio: 'pipe' })
    }
  })

  test('a folder and a socket that this user may not use', async t => {
    if (process.getuid!() !== 0) return t.skip('needs root, to be another user')
    const engine = await serve(t)
    chmodSync(engine.folder, 0o711)
    const look = () =>
      JSON.parse(
        execFileSync(process.execPath, ['--input-type=module', '-e', OTHER_USER], {
          env: {
            ...process.env,
            HEARTH_SOCKET: engine.socket,
            HEARTH_ENGINE_STATE_DIR: engine.stateDir,
          },
          encoding: 'utf8',
        }),
      ) as NamedFinding[]
    const findings = look()
    assert.match(wordsOf(findings, 'group'), /^fail .*not in the group.*usermod -aG/)
    assert.match(wordsOf(findings, 'engine'), /^fail .*no permission/)
    assert.match(wordsOf(findings, 'state folder'), /^fail .*EACCES|permission denied/)
    chmodSync(engine.socket, 0o666)
    assert.match(wordsOf(look(), 'group'), /^fail .*role "none".*access\.service\.members/)
  })

  test('Postgres: a wrong password, a database that is none, pools that do not fit', async t => {
    const postgres = await sharedPostgres()
    const env = { HEARTH_POSTGRES_URL: postgres.url }
    const found = await look(t, env, 'postgres')
    assert.match(found, /^ok .*PostgreSQL \d+.*a primary, wal_level/)
    const many = await look(t, { ...env, HEARTH_POSTGRES_MAIN_POOL_SIZE: '900' }, 'postgres')
    assert.match(many, /^fail .*905 of .*lower pool\.size/)
    const none = { HEARTH_POSTGRES_URL: postgres.url.replace('/postgres?', '/nothing?') }
    assert.match(await look(t, none, 'postgres'), /^fail .*"nothing" does not exist.*→ createdb/)
    const wrong = postgres.url.replace(/:\/\/[^@]*@/, '://nobody_known:wrong@')
    const refused = await look(t, { HEARTH_POSTGRES_URL: wrong }, 'postgres')
    assert.match(refused, /^fail .*→ mend user and password/)
    assert.ok(!refused.includes('wrong'))
    const told = await doctor(t, env)
    assert.equal(told.code, 0, JSON.stringify(told.findings))
    assert.match(told.of('postgres'), /^ok .*PostgreSQL \d/)
  })
})

const OTHER_USER = `
  const { examine } = await import(${JSON.stringify(join(PACKAGE_ROOT, 'engine/cli/doctor/checks.ts'))})
  const { loadConfig } = await import(${JSON.stringify(join(PACKAGE_ROOT, 'engine/config/load.ts'))})
  const loaded = loadConfig({ cwd: '/' })
  await import(${JSON.stringify(join(PACKAGE_ROOT, 'native-bindings/index.ts'))})
  process.setgroups([]); process.setgid(65534); process.setuid(65534)
  console.log(JSON.stringify(await examine({ loaded, refusal: undefined, root: '/' })))`

test('kernel settings are read from the system, and those that hurt are named', async t => {
  const root = projectFolder(t)
  const put = (path: string, text: string) => {
    mkdirSync(join(root, path, '..'), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  put(
    'proc/self/limits',
    'Max open files            96                 4096                 files\n',
  )
  put('proc/sys/vm/overcommit_memory', '2\n')
  put('sys/kernel/mm/transparent_hugepage/enabled', '[always] madvise never\n')
  put('run/systemd/system/x', '')
  put(
    'etc/systemd/system/hearth.service',
    '[Service]\nExecStart=/nowhere/node /nowhere/hearth.cjs serve\n',
  )
  const env = { HEARTH_ENGINE_STATE_DIR: join(root, 'state'), HEARTH_SOCKET: join(root, 's') }
  const loaded = loadConfig({ env, cwd: root })
  const patient: ReadPatient = { loaded, refusal: undefined, root }
  const findings = await examine(patient)
  const expected: Record<string, RegExp> = {
    'open files': /^fail 96 open files, enough for 32 clients .*LimitNOFILE/,
    'shared memory': /^warn there is no \/dev\/shm/,
    overcommit: /^warn .*overcommit_memory is 2/,
    'huge pages': /^warn .*madvise/,
    systemd: /^fail .*starts \/nowhere\/node, which is not there → hearth install-service/,
  }
  for (const [check, words] of Object.entries(expected))
    assert.match(wordsOf(findings, check), words)
  mkdirSync(join(root, 'dev'))
  symlinkSync('/usr', join(root, 'dev/shm'))
  assert.match(wordsOf(await examine(patient), 'shared memory'), /^warn \/dev\/shm is no tmpfs/)
})

test('kinds of file systems, and units, are judged by what they do', () => {
  const of = (type: number) => judgeFileSystem(type, '/state').status
  assert.deepEqual([0x6969, 0xff534d42 | 0, 0x517b, 0x65735546, 0x01021994, 0xef53].map(of), [
    'fail',
    'fail',
    'fail',
    'warn',
    'warn',
    'ok',
  ])
  const bin = join(PACKAGE_ROOT, 'engine', 'cli', 'hearth.cjs')
  const unit = (command: string) =>
    judgeUnit(`[Service]\nExecStart=${command}\n`, 'unit')[0]!.status
  assert.equal(unit(`${process.execPath} ${bin} serve`), 'ok')
  assert.equal(unit('/bin/sh -c hearth'), 'warn')
  assert.equal(unit(''), 'fail')
})

test('every check has a name of its own', () => {
  assert.equal(new Set(CHECKS.map(({ name }) => name)).size, CHECKS.length)
})
