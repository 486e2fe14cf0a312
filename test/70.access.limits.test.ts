/** Limits of a role: its namespaces in every operation that names something, no shared mapping, and its quotas.
 *  Owns:   an engine for each group of tests.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  what a limited client cannot name it learns nothing of, and changes nothing of. */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type Hearth, type HearthError } from '../engine/client/index.ts'
import { OPS } from '../engine/protocol/spec.ts'
import { prepare, type ServedEngine } from './helpers/engine.ts'
import { frame, nameOf, RawClient } from './helpers/frames.ts'
import { asUser, openTheWay, skipUnlessRoot } from './helpers/users.ts'

const WEATHER = 54_101
const SERVICE = 54_102
const SMALL = 54_103

async function startWith(engine: ServedEngine, toml: string): Promise<void> {
  const file = join(engine.folder, 'hearth.toml')
  writeFileSync(file, toml)
  await engine.start({ HEARTH_CONFIG: file, HEARTH_ENGINE_SOCKET_MODE: '0666' })
  openTheWay(engine.socket)
}

function clientOf(engine: ServedEngine, uid: number): Promise<Hearth> {
  return asUser(uid, () => connect({ socket: engine.socket, failOpen: false }))
}

const isForbidden = (error: HearthError) => error.code === 'FORBIDDEN'

describe('a role with namespaces', { skip: skipUnlessRoot }, () => {
  const engine = prepare({ after })
  let weather: Hearth
  let service: Hearth
  const clients: Hearth[] = []

  before(async () => {
    await startWith(
      engine,
      `[access.weather]
like = "service"
members = ["uid:${WEATHER}"]
namespaces = ["weather", "air"]
[access.service]
members = ["uid:${SERVICE}"]
`,
    )
    weather = await clientOf(engine, WEATHER)
    service = await clientOf(engine, SERVICE)
    clients.push(weather, service)
  })
  after(async () => {
    for (const client of clients) await client.close()
  })

  /** Each names something; `n` is a key, tag, channel or beginning of a pattern. */
  const NAMING: Record<string, (client: Hearth, n: string) => Promise<unknown> | unknown> = {
    get: (c, n) => c.cache.get(n),
    getMany: (c, n) => c.cache.getMany(['weather:1', n]),
    has: (c, n) => c.cache.has(n),
    ttl: (c, n) => c.cache.ttl(n),
    set: (c, n) => c.cache.set(n, 1),
    'set with options': (c, n) => c.cache.set(n, 1, { graceMs: 1_000 }),
    'set with a tag': (c, n) => c.cache.set('weather:tagged', 1, { tags: ['weather:t', n] }),
    setMany: (c, n) =>
      c.cache.setMany(
        [
          ['air:1', 1],
          [n, 1],
        ].map(([key, value]) => ({ key, value })) as never,
      ),
    delete: (c, n) => c.cache.delete(n),
    touch: (c, n) => c.cache.touch(n, 1_000),
    increment: (c, n) => c.cache.increment(n, 1),
    getOrSet: (c, n) => c.cache.getOrSet(n, () => 1),
    invalidateTags: (c, n) => c.cache.invalidateTags(['air:t', n]),
    invalidatePattern: (c, n) => c.cache.invalidatePattern(`${n}*`),
    keys: async (c, n) => {
      for await (const _ of c.cache.keys(`${n}*`)) break
    },
    watch: async (c, n) => (await c.cache.watch(`${n}*`)).close(),
    'limits.check': (c, n) => c.limits.check(n, { max: 1_000, windowMs: 1_000 }),
    publish: (c, n) => c.publish(n, 1),
    subscribe: async (c, n) => (await c.subscribe(`${n}*`)).close(),
  }

  for (const [name, act] of Object.entries(NAMING)) {
    test(`${name} is held to them`, async () => {
      await act(weather, 'weather:1')
      await act(weather, 'air:x')
      for (const other of ['sensors:1', 'weather', 'weathe', 'weather2:1', 'x:weather:1'])
        await assert.rejects(async () => act(weather, other), isForbidden, other)
      await act(service, 'sensors:1')
    })
  }

  test('a pattern that could match anything is refused, also one in disguise', async () => {
    for (const glob of ['*', '?eather:*', '[w]eather:*', 'weather*', 'weather?1', '']) {
      const keys = async () => {
        for await (const _ of weather.cache.keys(glob)) break
      }
      await assert.rejects(keys, isForbidden, glob)
      await assert.rejects(weather.cache.invalidatePattern(glob), isForbidden, glob)
    }
    for await (const key of weather.cache.keys('weather\\:*')) assert.match(key, /^weather:/)
  })

  test('a refusal says which role it is, what was named, and which line would allow it', async () => {
    const refused = (await weather.cache.get('sensors:1').catch(error => error)) as HearthError
    assert.equal(
      refused.message,
      'the key "sensors:1" is outside the namespaces of the role "weather" (weather:*, air:*); ' +
        'to allow it, add its namespace to access.weather.namespaces',
    )
  })

  test('tier 1 is not mapped by such a client, and by no other user while there is one', async () => {
    assert.equal(weather.inPlace.isOn, false)
    assert.equal(service.inPlace.isOn, false)
    const admin = await engine.connect()
    assert.equal(admin.inPlace.isOn, true)
    const raw = await asUser(WEATHER, () => RawClient.open(engine.socket))
    assert.equal((await raw.hello()).segment, null)
    raw.send(frame(OPS.ATTACH.code, 5))
    assert.deepEqual((await raw.reply(5)).body, Buffer.from([0xc0]))
    await raw.close()
    const { path } = engine.greeting!.segment!
    const open = `process.setgid(0); process.setuid(${SERVICE}); require('fs').openSync(${JSON.stringify(path)})`
    const { stderr } = spawnSync(process.execPath, ['-e', open], { encoding: 'utf8' })
    assert.match(stderr, /EACCES/)
  })

  test('an invalidation by foreign tags is told as one of its own keys', async () => {
    const told: unknown[] = []
    const watch = await weather.cache.watch('weather:*', change => void told.push(change))
    await service.cache.set('weather:shared', 1, { tags: ['secret-tag'] })
    await service.cache.invalidateTags(['secret-tag'])
    await service.cache.invalidateTags(['weather:t'])
    await service.cache.invalidatePattern('*')
    await service.cache.invalidatePattern('weather:sh*')
    while (told.length < 5) await sleep(5)
    await watch.close()
    assert.deepEqual(told, [
      { change: 'set', key: 'weather:shared' },
      { change: 'invalidated', pattern: 'weather:*' },
      { change: 'invalidated', tags: ['weather:t'] },
      { change: 'invalidated', pattern: 'weather:*' },
      { change: 'invalidated', pattern: 'weather:sh*' },
    ])
  })

  test('figures of other namespaces are not shown', async () => {
    const raw = await asUser(SERVICE, () => RawClient.open(engine.socket))
    await raw.hello()
    for (const [id, name] of [
      [2, 'sensors'],
      [3, 'air'],
    ] as const) {
      raw.send(frame(OPS.COUNT_READS.code, id, name, 1, 0, 0))
      assert.equal(nameOf(await raw.reply(id)), 'OK')
    }
    await raw.close()
    const namesOf = async (client: Hearth) => Object.keys((await client.stats()).namespaces)
    assert.deepEqual(
      (await namesOf(weather)).filter(name => name === 'sensors'),
      [],
    )
    assert((await namesOf(weather)).includes('air'))
    assert((await namesOf(service)).includes('sensors'))
  })

  test('a reload that limits a role ends its connections, and the next ones are limited', async () => {
    await service.cache.get('sensors:1')
    const toml = `[access.weather]
like = "service"
members = ["uid:${WEATHER}", "uid:${SERVICE}"]
namespaces = ["weather", "air"]
`
    writeFileSync(join(engine.folder, 'hearth.toml'), toml)
    const ended = new Promise(resolve => service.once('state', resolve))
    engine.signal('SIGHUP')
    await ended
    const next = await clientOf(engine, SERVICE)
    clients.push(next)
    assert.equal(next.role, 'weather')
    await assert.rejects(next.cache.get('sensors:1'), isForbidden)
    assert.equal(
      await weather.cache.get('weather:none'),
      undefined,
      'who has the same rights stays',
    )
  })

  test('a reload that makes no sense changes nothing', async () => {
    writeFileSync(
      join(engine.folder, 'hearth.toml'),
      '[access.admin]\nmembers = ["no-such-user"]\n',
    )
    engine.signal('SIGHUP')
    await engine.untilLogged(/not reloaded.*no-such-user/)
    const next = await clientOf(engine, WEATHER)
    clients.push(next)
    assert.equal(next.role, 'weather')
  })
})

describe('a role with quotas', { skip: skipUnlessRoot }, () => {
  const engine = prepare({ after })
  const value = 'x'.repeat(1_000)
  let small: Hearth

  before(async () => {
    await startWith(
      engine,
      `[access.small]
like = "service"
members = ["uid:${SMALL}"]
namespaces = ["small"]
memory_bytes = "64KiB"
sqlite_bytes = "128KiB"
subscriptions = 3
`,
    )
    small = await clientOf(engine, SMALL)
  })
  after(() => small?.close())

  async function fill(keyOf: (i: number) => string, count: number): Promise<number> {
    for (let i = 0; i < count; i++) {
      try {
        await small.cache.set(keyOf(i), value)
      } catch (error) {
        assert.equal((error as HearthError).code, 'BUSY')
        return i
      }
    }
    return count
  }

  test('stores what fits and no more, is told which quota it was, and goes on when there is room', async () => {
    // Frames are a little longer than what is counted, so a count after the first refusal may find some room.
    let stored = 0
    for (let more = -1; more !== 0 && stored < 400; stored += more) {
      more = await fill(i => `small:${stored + i}`, 200)
      await sleep(150)
    }
    assert(stored >= 62 && stored <= 65, `${stored} values of 1 kB in 64 KiB`)
    const refused = (await small.cache
      .set('small:more', value)
      .catch(error => error)) as HearthError
    assert.match(refused.message, /the quota access\.small\.memory_bytes \(65536\) is used up/)
    assert.equal(refused.retryable, true)
    assert.equal(await small.cache.get('small:0'), value, 'reads go on')
    await small.cache.invalidatePattern('small:*')
    for (let i = 0; (await fill(() => 'small:again', 1)) === 0; i++) {
      assert(i < 1_000, 'a count comes soon after')
      await sleep(20)
    }
  })

  test('writing the same key over and over does not use it up', async () => {
    assert.equal(await fill(i => `small:${i % 4}`, 400), 400)
  })

  test('others’ keys do not count', async () => {
    const admin = await engine.connect()
    for (let i = 0; i < 100; i++) await admin.cache.set(`large:${i}`, value)
    assert.equal(await fill(i => `small:${i % 4}`, 50), 50)
  })

  test('tier 2 has a quota of its own, for what is too large for tier 1 too', async () => {
    const large = 'y'.repeat(70_000)
    await small.cache.set('small:large', large)
    await assert.rejects(small.cache.set('small:larger', large), /access\.small\.sqlite_bytes/)
    await small.cache.delete('small:large')
  })

  test('subscriptions of one user are counted over all its connections', async t => {
    const other = await clientOf(engine, SMALL)
    t.after(() => other.close())
    const open = [
      await small.subscribe('small:a'),
      await small.subscribe('small:b'),
      await other.cache.watch('small:*'),
    ]
    const refused = (await other.subscribe('small:c').catch(error => error)) as HearthError
    assert.equal(refused.code, 'BUSY')
    assert.match(refused.message, /access\.small\.subscriptions \(3\)/)
    await open[0]!.close()
    await small.subscribe('small:c')
  })
})
