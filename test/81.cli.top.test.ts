/** `hearth top`: once, as JSON, and live on a terminal, which it leaves as it found it.
 *  Owns:   one engine for the file; pseudo-terminals, by script(1) of util-linux.
 *  Thread: main of a test process.   Runs: beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { readlinkSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import { bodyOf, fitted, frameOf, lineMaxOf } from '../engine/cli/top/frame.ts'
import type { Look } from '../engine/cli/top/look.ts'
import { History } from '../engine/observe/view/history.ts'
import { overviewOf } from '../engine/observe/view/overview.ts'
import { hearth, processesOf } from './helpers/cli.ts'
import { cleanEnvironment, engineOfFile, HEARTH, prepare } from './helpers/engine.ts'
import { until } from './helpers/postgres_pool.ts'

const engine = engineOfFile()
const hasScript = spawnSync('script', ['--version']).status === 0
const skip = !hasScript && 'there is no script(1) here: install util-linux'

const ESC = '\x1b'
const ENTER = `${ESC}[?1049h`
const LEAVE = `${ESC}[?1049l`
const COLOUR = new RegExp(`${ESC}\\[\\d*m`)

/** Runs it on a terminal of so many columns and rows. */
class Session {
  readonly child: ChildProcess
  output = ''
  private readonly socket: string
  readonly ended: Promise<number | null>

  constructor(t: TestContext, socket: string, size = '100 30', env: Record<string, string> = {}) {
    this.socket = socket
    const [columns, rows] = size.split(' ')
    // Of the size only the modes are left when it was changed meanwhile.
    const modes = `stty -a | grep -v columns | md5sum`
    const top = `"${process.execPath}" "${HEARTH}" top; echo "code $?"`
    const command = `stty cols ${columns} rows ${rows}; ${modes}; ${top}; ${modes}`
    this.child = spawn('script', ['-qec', command, '/dev/null'], {
      env: { ...cleanEnvironment(), HEARTH_SOCKET: socket, TERM: 'xterm-256color', ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.child.stdout!.setEncoding('utf8').on('data', text => (this.output += text))
    t.after(() => this.child.kill('SIGKILL'))
    this.ended = new Promise(resolve => this.child.once('close', resolve))
  }

  /** The newest frame, without colours. */
  get frame(): string {
    return stripVTControlCharacters(this.output.split('\x1b[H').at(-1)!)
  }

  type(keys: string): void {
    this.child.stdin!.write(keys)
  }

  /** Of `hearth top` itself. */
  get pid(): number {
    const found = processesOf(this.socket).find(line => / \S*node \S+hearth.cjs top/.test(line))
    return Number(found!.split(' ')[0])
  }

  says(words: string | RegExp): Promise<void> {
    return until(`it says ${words}`, async () =>
      typeof words === 'string' ? this.frame.includes(words) : words.test(this.frame),
    )
  }

  /** Asserts that it ended with the code, and that the terminal is as it was. */
  async isOver(code: number): Promise<void> {
    await this.ended
    const [before, after] = [...this.output.matchAll(/^[0-9a-f]{32}/gm)].map(([sum]) => sum)
    assert.equal(after, before, 'the modes of the terminal')
    assert.ok(this.output.lastIndexOf(LEAVE) > this.output.lastIndexOf(ENTER), 'the screen')
    assert.ok(this.output.lastIndexOf('\x1b[?25h') > this.output.lastIndexOf('\x1b[?25l'))
    assert.match(this.output, new RegExp(`code ${code}\\r`))
  }
}

test('--once and a pipe print everything once, without colours, with rates', async () => {
  const client = await engine.connect()
  for (let at = 0; at < 50; at++) await client.cache.set(`top:${at}`, at)
  const { code, stdout, stderr } = await hearth(['top', '--socket', engine.socket])
  assert.deepEqual([code, stderr], [0, ''])
  assert.match(stdout, /^Hearth ok · up \d+s · requests [\d.]+\/s · .*clients\n/)
  for (const title of ['Health', 'Cache', 'Latency in the engine', 'Postgres', 'Memory'])
    assert.match(stdout, new RegExp(`^${title}$`, 'm'))
  assert.match(stdout, /no Postgres database is configured/)
  assert.match(stdout, /above a bare Node, of budget +[█░]+ [\d.]+ MiB of [\d.]+ MiB/)
  assert.ok(!stdout.includes('\x1b'))
  assert.ok(stdout.split('\n').every(line => [...line].length <= 100))
})

test('--json gives the same for programs', async () => {
  const { code, stdout } = await hearth(['top', '--json', '--socket', engine.socket])
  const { status, now, tiers, overNodeBytes } = JSON.parse(stdout)
  assert.deepEqual([code, status, tiers[0].title], [0, 'ok', 'memory'])
  assert.ok(now.requestsPerSecond >= 0 && overNodeBytes > 0)
})

test('without an engine it ends with words', async () => {
  const { code, stderr } = await hearth(['top', '--socket', '/tmp/hearth-top-nowhere.sock'])
  assert.equal(code, 1)
  assert.match(stderr, /^hearth: UNAVAILABLE: /)
})

test('on a terminal it draws, pauses, scrolls, and gives the terminal back', { skip }, async t => {
  const session = new Session(t, engine.socket)
  await session.says(/Hearth ok · up/)
  assert.ok(session.frame.split('\n').length <= 30)
  await session.says(/\d+ more lines below/)
  session.type('p')
  await session.says(' paused ')
  session.type('p\x1b[F')
  await until('it is at the end', async () => /worker +restarts/.test(session.frame))
  session.type('g\t\t')
  await until('it is at a part', async () =>
    Boolean(session.frame.split('\r\n')[2]?.startsWith('Latency')),
  )
  session.type('q')
  await session.isOver(0)
})

const ENDS: Record<string, (session: Session) => void> = {
  'Ctrl-C': session => session.type('\x03'),
  SIGTERM: session => void process.kill(session.pid, 'SIGTERM'),
  SIGINT: session => void process.kill(session.pid, 'SIGINT'),
}

for (const [name, end] of Object.entries(ENDS)) {
  test(`${name} gives the terminal back`, { skip }, async t => {
    const session = new Session(t, engine.socket, '60 12')
    await session.says(/Hearth ok/)
    end(session)
    await session.isOver(0)
  })
}

test('an engine that goes and comes back, and a terminal that is resized', { skip }, async t => {
  const own = prepare(t)
  await own.start()
  const session = new Session(t, own.socket)
  await session.says(/Hearth ok/)
  await own.kill()
  await session.says(/no answer since \d\d:\d\d:\d\d/)
  await own.start()
  await until('it answers again', async () => !session.frame.includes('no answer'), 15_000)
  const terminal = readlinkSync(`/proc/${session.pid}/fd/1`)
  spawnSync('stty', ['-F', terminal, 'cols', '44', 'rows', '9'])
  await until('it is small', async () => {
    const lines = session.frame.split('\r\n')
    return lines.length === 9 && lines.every(line => [...line].length < 44)
  })
  session.type('\x1a')
  await until('the screen was given back, and taken again', async () => {
    const [, later] = session.output.split(LEAVE)
    return later !== undefined && /Hearth ok/.test(stripVTControlCharacters(later))
  })
  session.type('q')
  await session.isOver(0)
})

test('NO_COLOR: it draws without colours', { skip }, async t => {
  const session = new Session(t, engine.socket, '80 24', { NO_COLOR: '1' })
  await session.says(/Hearth ok/)
  session.type('q')
  await session.isOver(0)
  assert.equal(session.output.match(COLOUR), null)
})

const LOOK: Look = {
  history: new History(),
  overview: overviewOf({ atMs: 0, metrics: {} }, { status: 'ok', parts: {} }),
  alerts: [{ name: 'a\x1b[2J', severity: 'b', words: 'c', sinceMs: null, endedMs: null }],
  slow: undefined,
}

for (const [columns, rows] of [
  [20, 3],
  [40, 5],
  [80, 24],
  [200, 60],
] as const) {
  test(`a frame of ${columns} by ${rows} fills the screen and is no wider`, () => {
    const size = { columns, rows }
    const body = bodyOf(LOOK, columns)
    const at = { line: lineMaxOf(body, rows), isPaused: false, lostSinceMs: undefined }
    const frame = frameOf(LOOK, body, at, size)
    assert.equal(frame.length, rows)
    for (const line of frame)
      assert.ok([...stripVTControlCharacters(line)].length < columns, JSON.stringify(line))
  })
}

test('a name from elsewhere cannot move the cursor, and colours end with the line', () => {
  assert.equal(fitted('a\x1b[2Jb\r\n', 10), 'a·[2Jb··  ')
  assert.equal(fitted('\x1b[31mlong words\x1b[39m', 4), '\x1b[31mlong\x1b[39m')
})
