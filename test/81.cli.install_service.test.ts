/** `hearth install-service`: what it writes, what it never overwrites, and what systemd itself thinks of the units.
 *  Owns:   temporary roots to write below.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import {
  serviceUnit,
  socketUnit,
  type UnitFacts,
  usersFile,
} from '../engine/deploy/systemd/units.ts'
import { hearth, projectFolder } from './helpers/cli.ts'
import { HEARTH } from './helpers/engine.ts'

const EXPOSURE_MAX = 1.5
const UNITS = 'etc/systemd/system'

const hasAnalyze =
  spawnSync('systemd-analyze', ['--version'], { stdio: 'ignore' }).status === 0 &&
  spawnSync('systemd-analyze', ['security', '--help'], { encoding: 'utf8' }).stdout.includes(
    'offline',
  )
const skip = !hasAnalyze && 'systemd-analyze (of systemd 250 or later) is not installed'

test('writes three files, runs the pinned runtime, and says what to do next', async t => {
  const root = projectFolder(t)
  const first = await hearth(['install-service', '--root', root, '--json'])
  assert.equal(first.code, 0, first.stderr)
  const { files, runtime, socket, next } = JSON.parse(first.stdout)
  assert.deepEqual(
    files.map(({ path, outcome }: { path: string; outcome: string }) => [path, outcome]),
    [
      [join(root, UNITS, 'hearth.service'), 'written'],
      [join(root, UNITS, 'hearth.socket'), 'written'],
      [join(root, 'etc/sysusers.d/hearth.conf'), 'written'],
    ],
  )
  assert.equal(realpathSync(runtime), realpathSync(process.execPath), 'the pinned runtime')
  assert.equal(socket, '/run/hearth/hearth.sock')
  assert.ok(next.includes('systemctl enable --now hearth.socket hearth.service'))
  const service = readFileSync(join(root, UNITS, 'hearth.service'), 'utf8')
  const start = /^ExecStart=(\S+) (\S+) serve$/m.exec(service)!
  assert.deepEqual(start.slice(1), [runtime, HEARTH])
  for (const line of ['Type=notify', 'RuntimeDirectory=hearth', 'StateDirectory=hearth'])
    assert.match(service, new RegExp(`^${line}$`, 'm'))
  assert.match(service, /^ExecReload=.*HUP/m)
  assert.match(service, /^WatchdogSec=\d+s$/m)
  assert.match(service, /^MemoryMax=\d+M$/m)
})

test('a file that was changed by hand is left alone, and with --force kept beside', async t => {
  const root = projectFolder(t)
  const run = (...more: string[]) => hearth(['install-service', '--root', root, ...more])
  assert.equal((await run()).code, 0)
  const again = await run()
  assert.match(again.stdout, /^unchanged .*hearth\.service\nunchanged .*hearth\.socket\n/)
  const group = await run('--group', 'house')
  assert.match(group.stdout, /^updated .*hearth\.service\nupdated .*hearth\.socket\n/)
  assert.match(group.stdout, /systemctl restart hearth\.service/)
  const path = join(root, UNITS, 'hearth.service')
  const changed = `${readFileSync(path, 'utf8')}Nice=5\n`
  writeFileSync(path, changed)
  const refused = await run('--user', 'other')
  assert.equal(refused.code, 1)
  assert.match(
    refused.stderr,
    /BAD_REQUEST: .*hearth\.service was changed by hand; nothing was written/,
  )
  assert.equal(readFileSync(path, 'utf8'), changed)
  assert.doesNotMatch(readFileSync(join(root, UNITS, 'hearth.socket'), 'utf8'), /other/)
  const forced = await run('--user', 'other', '--force')
  assert.equal(forced.code, 0)
  assert.match(forced.stdout, /^replaced .*hearth\.service \(what was there is .*\.old\)/)
  assert.equal(readFileSync(`${path}.old`, 'utf8'), changed)
  assert.match(readFileSync(path, 'utf8'), /^User=other$/m)
})

test('--print writes nothing; a wrong name and a missing configuration are refused', async t => {
  const root = projectFolder(t)
  const printed = await hearth(['install-service', '--print', '--root', root])
  assert.equal(printed.code, 0)
  assert.match(printed.stdout, /^# .*hearth\.service\n# Written by hearth install-service /)
  assert.match(printed.stdout, /^\[Socket\]$/m)
  assert.equal(existsSync(join(root, UNITS)), false)
  assert.equal((await hearth(['install-service', '--user', 'No Name'])).code, 2)
  const missing = await hearth(['install-service', '--root', root, '--config', '/none.toml'])
  assert.equal(missing.code, 1)
  assert.match(missing.stderr, /\/none\.toml: no such file/)
})

test('the units follow the configuration that the service will read', async t => {
  const root = projectFolder(t)
  const config = join(root, 'my hearth.toml')
  writeFileSync(
    config,
    '[engine]\nsocket = "/srv/x/h.sock"\nsocket_mode = "0666"\nstate_dir = "/srv/state"\n' +
      '[memory]\nmax_bytes = "64MiB"\n[sqlite]\nbusy_timeout = "2m"\n',
  )
  const env = { HEARTH_SOCKET: '/elsewhere', XDG_RUNTIME_DIR: '/run/user/1' }
  const { code, stdout } = await hearth(
    ['install-service', '--print', '--root', root, '--config', config],
    { env },
  )
  assert.equal(code, 0)
  assert.ok(stdout.includes(` serve --config "${config}"\n`), stdout)
  assert.match(stdout, /^ListenStream=\/srv\/x\/h\.sock$/m)
  assert.match(stdout, /^SocketMode=0666$/m)
  assert.match(stdout, /^ReadWritePaths=\/srv\/state\nReadWritePaths=\/srv\/x$/m)
  assert.match(stdout, /^MemoryHigh=220M\nMemoryMax=316M$/m)
  assert.match(stdout, /^WatchdogSec=240s$/m)
})

test('what the service’s user could not read is said', async t => {
  const root = projectFolder(t)
  const closed = join(root, 'closed')
  mkdirSync(closed, { mode: 0o700 })
  writeFileSync(join(closed, 'hearth.toml'), '')
  const args = ['install-service', '--print', '--root', root]
  const outcome = await hearth([...args, '--config', join(closed, 'hearth.toml'), '--json'])
  assert.equal(outcome.code, 0)
  const { warnings } = JSON.parse(outcome.stdout) as { warnings: string[] }
  assert.match(warnings.join('\n'), new RegExp(`user hearth may not pass ${closed},`))
})

test('the user’s file makes user and group, and a group of another name', () => {
  assert.equal(usersFile(facts()), 'u hearth - "Hearth data engine"\n')
  assert.equal(
    usersFile(facts({ group: 'house' })),
    'g house -\nu hearth -:house "Hearth data engine"\n',
  )
})

describe('systemd', { skip }, () => {
  const KINDS: Record<string, Partial<UnitFacts>> = {
    'as installed': {},
    'with a configuration': { configFile: '/etc/hearth/hearth.toml' },
    'without kill': { kill: undefined },
    'from a home': { readInHome: ['/home/me/a "b":c'], writeInHome: ['/home/me/state'] },
    'with odd paths': { configFile: '/etc/my $house/100%/"a" \\b:c.toml', stateDir: '/srv/a b%:c' },
  }

  for (const [kind, changes] of Object.entries(KINDS)) {
    test(`verifies the units ${kind} without a word, and finds them exposed by ${EXPOSURE_MAX} at most`, t => {
      const folder = join(projectFolder(t), 'units')
      mkdirSync(folder)
      const node = join(folder, 'my $node 100%')
      symlinkSync(process.execPath, node)
      const all = facts({ ...(kind === 'with odd paths' ? { node } : {}), ...changes })
      writeFileSync(join(folder, 'hearth.service'), serviceUnit(all))
      writeFileSync(join(folder, 'hearth.socket'), socketUnit(all))
      const units = ['hearth.service', 'hearth.socket'].map(name => join(folder, name))
      const verified = analyze('verify', ...units)
      assert.equal(verified.output, '')
      assert.equal(verified.status, 0)
      const security = analyze('security', '--offline=yes', '--no-pager', units[0]!)
      const exposure = Number(
        /exposure level for hearth\.service: ([\d.]+)/.exec(security.output)![1],
      )
      console.log(`# exposure ${kind}: ${exposure}`)
      assert.ok(exposure <= EXPOSURE_MAX, security.output)
    })
  }
})

function analyze(...args: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8' })
  return { status, output: stdout + stderr }
}

function facts(changes: Partial<UnitFacts> = {}): UnitFacts {
  return {
    version: '1.2.3',
    node: process.execPath,
    bin: HEARTH,
    readme: '/usr/lib/my modules/hearth/README.md',
    kill: existsSync('/bin/kill') ? '/bin/kill' : undefined,
    user: 'hearth',
    group: 'hearth',
    socket: '/run/hearth/hearth.sock',
    socketMode: 0o660,
    stateDir: '/var/lib/hearth',
    memoryBytes: 4 * 1024 * 1024,
    busyTimeoutMs: 30_000,
    readInHome: [],
    writeInHome: [],
    ...changes,
  }
}
