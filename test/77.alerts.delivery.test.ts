/** Alerts on their way: every channel against a real server that fails, is slow or cut; the cap, repeats, restarts; the commands.
 *  Owns:   servers, engines, folders; a child process for each batch is the engine's.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AlertsJson } from '../engine/client/index.ts'
import { setLogLevel } from '../engine/log.ts'
import { Alerts, type AlertsOptions } from '../engine/observe/alerts/alerts.ts'
import { Delivery, QUEUE_COUNT_MAX } from '../engine/observe/alerts/delivery.ts'
import type { AlertMessage, ChannelOptions } from '../engine/observe/alerts/message.ts'
import { Families } from '../engine/observe/families.ts'
import { httpReceiver, type Received, smtpReceiver } from './helpers/alert_receivers.ts'
import { hearth } from './helpers/cli.ts'
import { type Ending, ensureBuilt, prepare, serve } from './helpers/engine.ts'
import { openEngine } from './helpers/engine_parts.ts'
import { until } from './helpers/postgres_pool.ts'

const folder = mkdtempSync(join(tmpdir(), 'hearth-alerts-'))
before(() => {
  ensureBuilt()
  process.env['HEARTH_ALERTS_SLACK_URL'] = 'http://nobody/of-the-child'
})
after(() => {
  delete process.env['HEARTH_ALERTS_SLACK_URL']
  rmSync(folder, { recursive: true })
  setLogLevel('info')
})
setLogLevel('error')

/** Alerts with quick retries; `look(count)` is one look at so many waiting requests. */
function stand(t: Ending, channels: ChannelOptions, options: Partial<AlertsOptions> = {}) {
  const stateDir = options.stateDir ?? mkdtempSync(join(folder, 'state-'))
  const alerts = new Alerts({
    host: 'home',
    dailyCap: 50,
    repeatMs: 0,
    rules: { pool_waiting: { forMs: 0 } },
    channels,
    delivery: { backoffMs: [50, 50], timeoutMs: 1_500 },
    ...options,
    stateDir,
  })
  let isClosed = false
  const close = async () => {
    if (!isClosed) await alerts.close()
    isClosed = true
  }
  t.after(close)
  const startMs = Date.now()
  const look = (seconds: number, ...counts: number[]) => {
    const families = new Families()
    families.add('hearth_cache_bytes', ['sqlite'], 1)
    for (const [i, count] of counts.entries())
      families.add('hearth_pool_waiting', [i === 0 ? 'main' : `main.${i}`], count)
    alerts.look(families, startMs + seconds * 1e3)
  }
  return { alerts, look, stateDir, close }
}

const kinds = (received: readonly Received[]): string[] =>
  received.map(({ body }) => (JSON.parse(body) as AlertMessage).kind)

describe('every channel', () => {
  test('is told of the beginning and the end, in its own form', async t => {
    const http = await httpReceiver(t)
    const smtp = await smtpReceiver(t, { user: 'alice', password: 'p@ss:word' })
    const { look } = stand(t, {
      email: {
        server: smtp.url.replace('p@ss:word', 'p%40ss%3Aword'),
        from: 'hearth@home.example',
        to: ['alice@home.example', 'bob@home.example'],
      },
      slack: { url: `${http.url}/slack/secret` },
      pagerduty: { url: `${http.url}/pagerduty`, key: 'routing-key' },
      ntfy: { url: `${http.url}/ntfy`, token: 'tk_1' },
      webhook: { url: `${http.url}/webhook`, token: 'bearer-1' },
    })
    look(0, 42)
    await http.untilReceived(4)
    await smtp.untilReceived(1)
    look(100, 0)
    look(160, 0)
    await http.untilReceived(8)
    await smtp.untilReceived(2)
    const of = (path: string) => http.received.filter(each => each.path === path)
    const words = '42 requests wait for a connection to main'

    const [began, ended] = of('/webhook').map(({ body }) => JSON.parse(body) as AlertMessage)
    assert.equal(of('/webhook')[0]!.headers['authorization'], 'Bearer bearer-1')
    assert.equal(began!.summary, words)
    const { id, kind, alert, subject, severity, host, value, threshold, unit } = began!
    assert.deepEqual(
      [id, kind, alert, subject, severity, host, value, threshold, unit],
      [
        'hearth/home/pool_waiting/main',
        'firing',
        'pool_waiting',
        'main',
        'warning',
        'home',
        42,
        20,
        'count',
      ],
    )
    assert.deepEqual([ended!.kind, ended!.id, ended!.sinceMs], ['resolved', id, began!.sinceMs])

    const [trigger, resolve] = of('/pagerduty').map(({ body }) => JSON.parse(body))
    assert.deepEqual(
      [trigger.routing_key, trigger.event_action, trigger.dedup_key, trigger.payload.severity],
      ['routing-key', 'trigger', id, 'warning'],
    )
    assert.deepEqual([resolve.event_action, resolve.dedup_key], ['resolve', id])

    const [push] = of('/ntfy')
    assert.equal(push!.headers['authorization'], 'Bearer tk_1')
    assert.equal(push!.headers['priority'], 'high')
    const title = /^=\?UTF-8\?B\?(.*)\?=$/.exec(String(push!.headers['title']))![1]!
    assert.equal(Buffer.from(title, 'base64').toString(), `WARNING home: ${words}`)
    assert.match(push!.body, /postgres\.<name>\.pool\.size/)

    const [post] = of('/slack/secret').map(({ body }) => JSON.parse(body))
    assert.equal(post.text, `WARNING home: ${words}`)
    assert.match(JSON.stringify(post.attachments), /postgres\.&lt;name&gt;\.pool\.size/)

    const [mail, answer] = smtp.received
    assert.deepEqual(
      [mail!.user, mail!.from, mail!.to.length],
      ['alice', '<hearth@home.example>', 2],
    )
    assert.match(mail!.data, /^Subject: WARNING home: 42 requests wait for a connection to main$/m)
    const thread = /^Message-ID:\s+(.*)$/m.exec(mail!.data)![1]!
    assert.match(answer!.data, /^In-Reply-To:\s+\S/m)
    assert.ok(answer!.data.includes(thread), answer!.data)
    assert.match(answer!.data, /^Subject: RESOLVED home/m)
  })

  test('that fails, is slow or cut is tried again, in order; a refusal is not', async t => {
    const http = await httpReceiver(t)
    const { look, alerts } = stand(t, { webhook: { url: `${http.url}/hook` } })
    http.next(503, 'cut')
    look(0, 42)
    look(100, 0)
    look(160, 0)
    await http.untilReceived(2)
    assert.deepEqual(kinds(http.received), ['firing', 'resolved'])
    assert.equal(http.attempts, 4)

    http.next('slow')
    look(200, 42)
    await http.untilReceived(3)
    assert.equal(http.attempts, 6)

    http.next(404)
    look(300, 0)
    look(360, 0)
    look(400, 42)
    await http.untilReceived(4)
    assert.deepEqual(kinds(http.received).slice(2), ['firing', 'firing'], 'the end was refused')
    const { delivery } = alerts as unknown as { delivery: Delivery }
    await until('all is settled', () => delivery.queued().length === 0)
    assert.equal(http.attempts, 8, 'what is refused is not tried again')

    http.next(500, 500, 500)
    look(500, 0)
    look(560, 0)
    look(600, 42)
    await http.untilReceived(5)
    assert.equal(http.attempts, 12, 'given up after two retries')
    const told = ['firing', 'resolved', 'firing', 'firing', 'firing']
    assert.deepEqual(kinds(http.received), told, 'what was refused or given up is not sent later')
  })

  test('keeps to itself: one that is slow does not hold up another', async t => {
    const [slow, quick] = [await httpReceiver(t), await httpReceiver(t)]
    const smtp = await smtpReceiver(t)
    slow.next('slow')
    smtp.next('cut', 451)
    const email = { server: smtp.url, from: 'a@b.example', to: ['c@d.example'] }
    const channels = { email, webhook: { url: slow.url }, ntfy: { url: quick.url } }
    const delivery = { backoffMs: [50, 50, 50, 50], timeoutMs: 1_500 }
    const { look } = stand(t, channels, { delivery })
    look(0, 42)
    await quick.untilReceived(1)
    assert.equal(slow.received.length, 0)
    await smtp.untilReceived(1)
    await slow.untilReceived(1)
    assert.equal(quick.attempts, 1, 'what was sent is not sent again')
    assert.ok(smtp.attempts >= 3)
  })
})

describe('what is sent', () => {
  test('is each alert once, again after the repeat, and no more than the daily cap', async t => {
    const http = await httpReceiver(t)
    const options = { dailyCap: 4, repeatMs: 3_600_000 }
    const { look, alerts } = stand(t, { webhook: { url: http.url } }, options)
    for (let seconds = 0; seconds < 3_600; seconds += 600) look(seconds, 42)
    look(3_600, 42)
    look(3_610, 42)
    look(3_620, 42, 42, 42, 42, 42)
    await http.untilReceived(4)
    const { sentToday, dailyCap, active } = alerts.list()
    assert.deepEqual([sentToday, dailyCap, active.length], [4, 4, 5])
    assert.equal(active.filter(({ sentMs }) => sentMs !== null).length, 3)
    look(3_700, 0, 0, 0, 0, 0)
    look(3_760, 0, 0, 0, 0, 0)
    await http.untilReceived(7)
    const [first, again, ...rest] = kinds(http.received)
    assert.deepEqual([first, again], ['firing', 'still firing'])
    assert.deepEqual(rest, ['firing', 'firing', 'resolved', 'resolved', 'resolved'])
    const notes = http.received.map(({ body }) => (JSON.parse(body) as AlertMessage).note)
    assert.deepEqual(
      notes.map(note => note !== null),
      [false, false, false, true, false, false, false],
    )
    look(86_400 + 3_600, 42)
    await http.untilReceived(8)
  })

  test('is not sent twice over a restart, and what was not sent before it is', async t => {
    const http = await httpReceiver(t)
    const channels = { webhook: { url: http.url } }
    const before = stand(t, channels)
    before.look(0, 42)
    await http.untilReceived(1)
    await before.close()
    assert.equal(statSync(join(before.stateDir, 'alerts.json')).mode & 0o777, 0o600)

    const { stateDir } = before
    const second = stand(t, channels, {
      stateDir,
      delivery: { backoffMs: [60_000], timeoutMs: 1_500 },
    })
    second.look(0, 42)
    assert.equal(second.alerts.list().active.length, 1)
    http.next(503)
    second.look(10, 0)
    second.look(70, 0)
    await until('refused', () => http.attempts === 2)
    await second.close()
    assert.equal(http.received.length, 1)

    const third = stand(t, channels, { stateDir })
    await http.untilReceived(2)
    third.look(0, 0)
    await sleep(50)
    assert.deepEqual(kinds(http.received), ['firing', 'resolved'])
    assert.equal(third.alerts.list().recent.length, 1)
  })

  test('waits in a bounded queue', async t => {
    const http = await httpReceiver(t)
    const delivery = new Delivery(
      { webhook: { url: 'http://127.0.0.1:1/' } },
      { backoffMs: [1e6], timeoutMs: 500 },
    )
    t.after(() => delivery.close())
    const message = { id: 'x', alert: 'x', subject: '', kind: 'firing' } as AlertMessage
    for (let i = 0; i < QUEUE_COUNT_MAX + 20; i++) delivery.offer({ ...message, id: String(i) })
    const ids = delivery.queued().map(each => each.message.id)
    assert.deepEqual([ids.length, ids.at(-1)], [QUEUE_COUNT_MAX, String(QUEUE_COUNT_MAX + 19)])
    assert.equal(http.attempts, 0)
  })
})

describe('secrets', () => {
  test('are in no argument and no environment of the child, and in no answer', async t => {
    const http = await httpReceiver(t)
    const url = `${http.url}/services/T0/hush-hush`
    http.next('slow')
    const { alerts } = stand(t, { slack: { url } })
    const answers = alerts.test()
    await until('it waits', () => http.attempts === 1)
    await assert.rejects(alerts.test(), { code: 'BUSY' })
    const child = childrenOf(process.pid)
    assert.equal(child.length, 1)
    const shown = ['cmdline', 'environ'].map(each =>
      readFileSync(`/proc/${child[0]}/${each}`, 'utf8'),
    )
    assert.match(shown[0]!, /alert_sender\.cjs/)
    assert.doesNotMatch(shown.join(), /hush-hush|HEARTH_|of-the-child/)
    assert.match((await answers)[0]!.answer, /no answer within|aborted|timeout/)

    http.next(403)
    const [answer] = await alerts.test('slack')
    assert.deepEqual([answer!.channel, answer!.isSent], ['slack', false])
    assert.match(answer!.answer, /^403 said \*\*\*\*/)
    assert.ok(answer!.answer.length <= 200)
    http.next(302)
    assert.equal((await alerts.test())[0]!.isSent, false, 'a redirect is not followed')
    assert.equal(childrenOf(process.pid).length, 0)
  })

  test('of a mail server go nowhere without TLS', async t => {
    const smtp = await smtpReceiver(t, { user: 'alice', password: 'right' })
    const email = { from: 'a@b.example', to: ['c@d.example'] }
    const wrong = { ...email, server: smtp.url.replace('right', 'wrong-one') }
    const { alerts } = stand(t, { email: wrong })
    const [answer] = await alerts.test()
    assert.match(answer!.answer, /535 wrong password/)
    assert.doesNotMatch(answer!.answer, /wrong-one|alice/)
    // Not this host by its name, so it might be anywhere.
    const elsewhere = { ...email, server: smtp.url.replace('127.0.0.1', '0.0.0.0') }
    const [refused] = await stand(t, { email: elsewhere }).alerts.test()
    assert.equal(refused!.isSent, false)
    assert.match(refused!.answer, /TLS/)
    assert.equal(smtp.received.length, 0)
  })
})

describe('an engine', () => {
  test('with alerts tells of them by HTTP, client and command, and tests its channels', async t => {
    const http = await httpReceiver(t)
    const engine = prepare(t, {
      HEARTH_HTTP_LISTEN: '127.0.0.1:0',
      HEARTH_ALERTS_WEBHOOK_URL: `${http.url}/hook/hush-hush`,
      HEARTH_ALERTS_NTFY_URL: 'http://127.0.0.1:1/nobody',
      HEARTH_ALERTS_RULES_REQUESTS_IN_FLIGHT_THRESHOLD: '0',
      HEARTH_ALERTS_RULES_REQUESTS_IN_FLIGHT_FOR: '0',
    })
    await engine.start()
    const run = (...args: string[]) => hearth(args, { env: { HEARTH_SOCKET: engine.socket } })
    const all = await run('alert', 'test', '--json')
    assert.equal(all.code, 1, all.stderr)
    const answers = JSON.parse(all.stdout) as { channel: string; isSent: boolean }[]
    assert.deepEqual(
      answers.map(({ channel, isSent }) => [channel, isSent]),
      [
        ['ntfy', false],
        ['webhook', true],
      ],
    )
    const one = await run('alert', 'test', '--channel', 'webhook')
    assert.equal(one.code, 0)
    assert.match(one.stdout, /webhook\s+sent\s+200/)
    const tests = kinds(http.received).filter(kind => kind === 'test')
    assert.equal(tests.length, 2)
    const none = await run('alert', 'test', '--channel', 'pagerduty')
    assert.equal(none.code, 1)
    assert.match(none.stderr, /alerts\.pagerduty is not configured/)
    assert.equal((await run('alert', 'moo')).code, 2)

    const list = await run('alert', 'list')
    assert.match(list.stdout, /to ntfy, webhook; \d of 50/)
    const url = /"url":"([^"]+)"/.exec(engine.log())![1]!
    const shown = (await (await fetch(`${url}/alerts`)).json()) as AlertsJson
    assert.deepEqual([shown.isOn, shown.dailyCap, shown.channels], [true, 50, ['ntfy', 'webhook']])
    const client = await engine.connect()
    assert.deepEqual(Object.keys(await client.alerts()), Object.keys(shown))
    assert.doesNotMatch(engine.log(), /hush-hush/)
    assert.equal((await engine.stop()).code, 0)
  })

  test('without alerts has none of their code, and says that they are off', async t => {
    const engine = await serve(t)
    const run = await hearth(['alert', 'list'], { env: { HEARTH_SOCKET: engine.socket } })
    assert.match(run.stdout, /alerts are off/)
    assert.equal(run.code, 0)
    assert.ok(
      readdirSync(join(import.meta.dirname, '..', 'dist')).includes('daemon.alerts_open.cjs'),
    )
  })

  test('looks at its own samples, and what is wrong there fires', async t => {
    const http = await httpReceiver(t)
    const { engine, connect } = await openEngine(t, {
      alerts: { webhook: { url: http.url }, rules: { service_down: { forMs: 0 } } },
    })
    engine.metricSources.addMetrics(report => report('hearth_service_up', ['api'], 0))
    await http.untilReceived(1)
    const { active } = await (await connect()).alerts()
    assert.deepEqual(
      active.map(({ alert, subject, sentMs }) => [alert, subject, sentMs !== null]),
      [['service_down', 'api', true]],
    )
  })
})

/** Senders that run now. */
function childrenOf(pid: number): string[] {
  return readdirSync('/proc').filter(each => {
    try {
      const [, , , parent] = readFileSync(`/proc/${each}/stat`, 'utf8').split(' ')
      const isSender = readFileSync(`/proc/${each}/cmdline`, 'utf8').includes('alert_sender')
      return /^\d+$/.test(each) && Number(parent) === pid && isSender
    } catch {
      return false
    }
  })
}
