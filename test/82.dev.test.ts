/** `hearth dev`: from an empty folder to answers, and nothing left behind however it ends.
 *  Owns:   folders and processes of its own.   Thread: main of a test process.
 *  Holds:  each process is found by the folder that its command line or environment names.
 *  Runs:   beside others, since no figure of it is near its bound. */

import assert from 'node:assert/strict'
import { existsSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { serverUser } from '../engine/dev/postgres_binaries.ts'
import { choosePlaces } from '../engine/dev/postgres_places.ts'
import { hearth, processesLeft, processesOf, projectFolder, start } from './helpers/cli.ts'
import { RawClient } from './helpers/frames.ts'
import { freePort } from './helpers/free_port.ts'
import { FULL } from './helpers/random.ts'

const LEFT_MS_MAX = 15_000

/** A page of its own for all but the first, which has the usual place. */
const env = { HEARTH_HTTP_LISTEN: `127.0.0.1:${await freePort()}` }

interface Event {
  event: string
  [field: string]: unknown
}

interface BySource {
  memory: { answers: number; p50Ms: number | null; p99Ms: number | null }
  sqlite: BySource['memory']
  postgres: BySource['memory']
}

function eventsOf(stdout: string): Event[] {
  return stdout
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))
}

test('from an empty folder to a table, twice, with commands in between; nothing is left', async t => {
  const folder = projectFolder(t)
  const first = start(['dev', '--seconds', '3'], { cwd: folder })
  await first.untilSaid('A pretend home service is asking')
  const said = first.stdout()
  assert(said.includes(join(folder, '.hearth/hearth.sock')), said)
  const page = /^page +(http:\/\/127\.0\.0\.1:\d+\/)$/m.exec(said)
  assert.equal((await fetch(new URL('health/ready', page![1]))).status, 200)
  assert.match(said, /128 232 of 128 232 readings/)

  const tried = [...said.matchAll(/^ {12}hearth (\w+) ?(?:"(.*)"|(\S+))?$/gm)]
  assert.deepEqual(
    tried.map(([, command]) => command),
    ['get', 'query', 'stats'],
  )
  for (const [, command, inQuotes, word] of tried) {
    const operands = [inQuotes ?? word].filter(operand => operand !== undefined)
    const outcome = await hearth([command!, ...operands, '--json'], { cwd: folder })
    assert.equal(outcome.code, 0, outcome.stderr)
  }

  const { code, stdout, stderr } = await first.ended
  assert.equal(stderr, '')
  assert.equal(code, 0)
  assert.match(stdout, /hourly averages of a week +\d+ +memory/)
  assert.deepEqual(await processesLeft(folder, 5_000), [])
  assert(!existsSync(join(folder, '.hearth/hearth.sock')))
  assert.equal(statSync(join(folder, '.hearth/engine')).mode & 0o777, 0o700)

  const second = await hearth(['dev', '--seconds', '2', '--json'], { cwd: folder })
  assert.equal(second.code, 0, second.stderr)
  const events = eventsOf(second.stdout)
  const { rowsLoaded } = events.find(({ event }) => event === 'ready')!
  assert.equal(rowsLoaded, 0, 'the sample is loaded once')
  const figures = events.findLast(({ event }) => event === 'figures')!
  const total = figures['total'] as BySource
  assert.equal(figures['failures'], 0)
  for (const source of ['memory', 'sqlite', 'postgres'] as const) {
    const { answers, p50Ms, p99Ms } = total[source]
    assert(answers > 0, `${source} answered nothing: ${JSON.stringify(total)}`)
    assert(p50Ms! > 0 && p50Ms! <= p99Ms!, source)
  }
  assert(total.memory.p50Ms! < total.postgres.p50Ms!)
  assert.deepEqual(await processesLeft(folder, 5_000), [])
})

describe('while it runs', () => {
  test('a second one in the folder is refused, and kill -9 of the first leaves nothing', async t => {
    const folder = projectFolder(t)
    const first = start(['dev'], { cwd: folder, env })
    await first.untilSaid('A pretend home service is asking')

    const second = await hearth(['dev'], { cwd: folder, env })
    assert.equal(second.code, 1)
    const holder = `hearth: BUSY: \`hearth dev\` already runs in ${folder} (pid ${first.child.pid})`
    assert(second.stderr.startsWith(holder), second.stderr)
    assert.equal((await hearth(['ping'], { cwd: folder })).code, 0, 'the first one is undisturbed')

    assert(processesOf(folder).length >= 2, 'the engine and Postgres')
    first.child.kill('SIGKILL')
    assert.deepEqual(await processesLeft(folder, LEFT_MS_MAX), [])

    const again = await hearth(['dev', '--seconds', '1'], { cwd: folder, env })
    assert.equal(again.code, 0, again.stderr)
  })

  test('SIGINT, with the echo of it that npm sends, stops it in order with exit code 0', async t => {
    const folder = projectFolder(t)
    const running = start(['dev'], { cwd: folder, env })
    await running.untilSaid('A pretend home service is asking')
    running.child.kill('SIGINT')
    await sleep(20)
    running.child.kill('SIGINT')
    const { code, stdout } = await running.ended
    assert.equal(code, 0)
    assert.match(stdout, /\nstopping\nstopped\n$/)
    assert.deepEqual(await processesLeft(folder, 5_000), [])
  })

  test('an engine that dies is told with its last words, exit code 1, and the rest is stopped', async t => {
    const folder = projectFolder(t)
    const running = start(['dev'], { cwd: folder, env })
    await running.untilSaid('A pretend home service is asking')
    // A killed engine cannot remove its shared memory; in daily use the next one on that socket does.
    const client = await RawClient.open(join(folder, '.hearth/hearth.sock'))
    const { segment } = await client.hello()
    await client.close()
    t.after(() => rmSync(segment?.path ?? '', { force: true }))
    const daemon = processesOf(folder).find(line => line.includes('daemon.cjs'))!
    process.kill(Number(daemon.split(' ')[0]), 'SIGKILL')
    const { code, stderr } = await running.ended
    assert.equal(code, 1)
    assert.match(stderr, /^hearth: UNAVAILABLE: the engine ended/)
    assert.deepEqual(await processesLeft(folder, 5_000), [])
  })
})

for (const afterMs of FULL ? [30, 400, 1_500] : [400]) {
  test(`SIGTERM ${afterMs} ms after its start, whatever it is at, is exit code 0 and leaves nothing`, async t => {
    const folder = projectFolder(t)
    const running = start(['dev'], { cwd: folder, env })
    if (afterMs < 100) await sleep(200)
    else await running.untilSaid('making a Postgres cluster')
    await sleep(afterMs)
    running.child.kill('SIGTERM')
    const { code, stderr } = await running.ended
    assert.equal(code, 0, stderr)
    assert.equal(stderr, '')
    assert.deepEqual(await processesLeft(folder, 5_000), [])
  })
}

test('in a folder whose path is too long for a socket it works all the same', async t => {
  const folder = projectFolder(t, `hearth-${'long-'.repeat(20)}`)
  const postgres = { dataDir: join(folder, '.hearth/postgres'), port: 5432 }
  const { socketDir } = choosePlaces(postgres, serverUser())
  t.after(() => rmSync(socketDir, { recursive: true }))
  const running = start(['dev', '--seconds', '1'], { cwd: folder, env })
  await running.untilSaid('A pretend home service is asking')
  assert.equal((await hearth(['ping'], { cwd: folder })).code, 0)
  assert.equal((await running.ended).code, 0)
  assert.deepEqual(await processesLeft(folder, 5_000), [])
})
