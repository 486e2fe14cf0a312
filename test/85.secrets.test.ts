/** Secrets: what the configuration and the environment keep is shown by nothing that the engine or the CLI says.
 *  Owns:   one engine, and what it and every command wrote.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  no output, figure, error, log line or command line has any of them, whatever goes wrong. */

import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { explainText } from '../engine/config/explain.ts'
import { loadConfig } from '../engine/config/load.ts'
import { hearth } from './helpers/cli.ts'
import { prepare } from './helpers/engine.ts'
import { sharedPostgres } from './helpers/postgres.ts'

/** Recognisable, and none a part of another word. */
const SECRETS = ['5ecretPassw0rd', '5ecretRepl1ca', '5ecretEnv1ron', '5ecretKey_pw', '5ecret0ther']
const [PASSWORD, REPLICA, ENVIRONMENT, KEY, OTHER] = SECRETS as [
  string,
  string,
  string,
  string,
  string,
]

test('no secret is in a log, an error, a figure, the shown configuration or a command line', async t => {
  const { url } = await sharedPostgres()
  const socketHost = /[?&]host=([^&]*)/.exec(url)![1]!
  const at = (user: string, password: string, rest: string) =>
    `postgres://${user}:${password}@${rest}`
  const engine = prepare(t)
  const file = join(engine.folder, 'hearth.toml')
  const good = `[engine]
log_level = "debug"
[postgres.main]
url = "${at('nobody', PASSWORD, `/postgres?host=${socketHost}&sslpassword=${KEY}`)}"
[postgres.away]
url = "${at('app', PASSWORD, '127.0.0.1:1/db')}"
replicas = ["${at('app', REPLICA, '127.0.0.1:2/db')}"]
[postgres.keywords]
url = "postgres:///db?host=/nowhere&user=app&password=${OTHER}"
`
  writeFileSync(file, good)
  const env = {
    HEARTH_CONFIG: file,
    HEARTH_POSTGRES_ENVIRON_URL: at('app', ENVIRONMENT, 'no-such-host.invalid/db'),
  }
  const said: string[] = []
  await engine.start(env)
  const run = async (...args: string[]) => {
    const { stdout, stderr } = await hearth(args, {
      env: { ...env, HEARTH_SOCKET: engine.socket },
    })
    said.push(stdout, stderr)
    return stdout + stderr
  }
  const client = await engine.connect()
  const asked = ['main', 'away', 'keywords', 'environ'].map(name =>
    client
      .database(name)
      .query('select 1', [], { timeoutMs: 2_000 })
      .then(
        () => assert.fail(`${name} was reached`),
        (error: Error) => error,
      ),
  )
  for (const error of await Promise.all(asked))
    said.push(String(error.stack), JSON.stringify(error), String(error.cause))
  said.push(JSON.stringify(await client.stats()), JSON.stringify(await client.health()))

  const shown = await Promise.all([
    run('config'),
    run('config', '--json'),
    run('query', 'select 1', '--db', 'away'),
  ])
  assert.match(shown[0]!, /postgres\.main\.url .*\*\*\*\*/, 'it is shown as masked')

  const wrong = [
    good.replace('127.0.0.1:1', '127.0.0.1:99999'),
    good.replace('url = "postgres://app', 'url = "mysql://app'),
    good.replace('[postgres.away]\nurl', '[postgres.away]\nulr'),
    good.replace('log_level = "debug"', `log_level = "${at('app', PASSWORD, 'h/d')}"`),
    good.replace('[postgres.away]', `[postgres.away`),
    `${good}[access.service]\nmembers = ["${at('app', PASSWORD, 'h/d')}"]\n`,
    `${good}[access.service]\ndatabases = ["${at('app', PASSWORD, 'h/d')}"]\n`,
    good.replace(PASSWORD, `${PASSWORD}x`),
  ]
  wrong.forEach((bad, i) => {
    const other = join(engine.folder, `wrong_${i}.toml`)
    writeFileSync(other, bad)
    try {
      said.push(explainText(loadConfig({ file: other, env })))
    } catch (error) {
      said.push(String((error as Error).stack))
    }
  })
  for (const bad of wrong) {
    writeFileSync(file, bad)
    engine.signal('SIGHUP')
    await sleep(60)
  }
  await engine.untilLogged('not reloaded')
  await engine.untilLogged('needsRestart')

  const commandLines = readdirSync(`/proc/${engine.pid}/task`).map(task =>
    readFileSync(`/proc/${engine.pid}/task/${task}/cmdline`, 'latin1'),
  )
  said.push(readFileSync(`/proc/${engine.pid}/cmdline`, 'latin1'), ...commandLines)
  // The environment holds what its owner put there: the kernel shows it to that user and to root alone.
  assert.equal(statSync(`/proc/${engine.pid}/environ`).mode & 0o077, 0)

  said.push(engine.log())
  for (const text of said) {
    for (const secret of SECRETS) {
      const found = text.indexOf(secret)
      assert(found < 0, `${secret} is in: ${text.slice(Math.max(0, found - 200), found + 60)}`)
    }
  }
  assert(said.join('').length > 5_000, 'something was said')
})
