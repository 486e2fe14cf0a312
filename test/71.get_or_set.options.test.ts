/** getOrSet as its callers see it: grace, timeouts, refreshing ahead, negative results, writers, errors, an engine that is down.
 *  Owns:   one embedded engine.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth } from '../engine/client/index.ts'
import { type Embedded, embed, prepare } from './helpers/engine.ts'

/** A factory that gives 1, 2, 3 … and may take its time or fail. */
function counter(pauseMs = 0, fails: (run: number) => boolean = () => false) {
  const factory = async (): Promise<number> => {
    const run = ++factory.runs
    if (pauseMs > 0) await sleep(pauseMs)
    if (fails(run)) throw new Error(`run ${run} failed`)
    return run
  }
  factory.runs = 0
  return factory
}

const never = (): never => assert.fail('the factory must not run')

describe('getOrSet', () => {
  const endings: (() => Promise<void>)[] = []
  let embedded: Embedded
  let one: Hearth
  let other: Hearth
  before(async () => {
    embedded = await embed({ after: end => endings.push(end) })
    one = await embedded.connect({ failOpen: true })
    other = await embedded.connect({ failOpen: true })
  })
  after(async () => {
    for (const end of endings) await end()
  })

  /** Waits until what a factory brings late is stored. */
  async function untilValue(key: string, value: unknown): Promise<void> {
    for (let i = 0; (await one.cache.get(key)) !== value && i < 500; i++) await sleep(10)
  }

  test('runs the factory on a miss, and never on a hit', async () => {
    const factory = counter()
    assert.equal(await one.cache.getOrSet('plain', factory), 1)
    assert.equal(await other.cache.getOrSet('plain', never), 1)
    assert.equal(await one.cache.get('plain'), 1)
    assert.equal(factory.runs, 1)
  })

  test('shares one run among the calls of a client, and among clients', async () => {
    const factory = counter(100)
    const calls = [one, other].flatMap(client =>
      Array.from({ length: 20 }, () => client.cache.getOrSet('shared', factory)),
    )
    assert.deepEqual(await Promise.all(calls), new Array(40).fill(1))
    assert.equal(factory.runs, 1)
  })

  test('in a namespace means the namespace’s keys, with their tags', async () => {
    const rooms = one.cache.namespace('rooms')
    assert.equal(await rooms.getOrSet('kitchen', () => 'warm', { tags: ['heat'] }), 'warm')
    assert.equal(await one.cache.get('rooms:kitchen'), 'warm')
    assert.equal(await one.cache.invalidateTags(['heat']), 1)
    assert.equal(await rooms.getOrSet('kitchen', () => 'cold'), 'cold')
  })

  test('throws an error to its own caller, and others take over one at a time', async () => {
    let running = 0
    let most = 0
    const factory = async (): Promise<never> => {
      most = Math.max(most, ++running)
      await sleep(30)
      running--
      throw new Error('broken')
    }
    const calls = [one, other].map(client => client.cache.getOrSet('broken', factory))
    for (const outcome of await Promise.allSettled(calls)) assert.equal(outcome.status, 'rejected')
    assert.equal(most, 1)
    assert.equal(await one.cache.getOrSet('broken', () => 'whole'), 'whole')
  })

  test('serves the stale value on an error, and does not try again at once', async () => {
    const factory = counter(0, run => run > 1)
    const options = { ttlMs: 30, graceMs: 60_000 }
    assert.equal(await one.cache.getOrSet('grace', factory, options), 1)
    await sleep(50)
    assert.equal(await one.cache.getOrSet('grace', factory, options), 1)
    assert.equal(factory.runs, 2)
    assert.equal(await one.cache.getOrSet('grace', factory, options), 1)
    assert.equal(await other.cache.getOrSet('grace', never, options), 1)
    assert.equal(factory.runs, 2)
    // Who allows no grace gets an error, or a fresh value.
    await assert.rejects(one.cache.getOrSet('grace', factory), /run 3 failed/)
    assert.equal(await other.cache.getOrSet('grace', () => 'fresh'), 'fresh')
  })

  test('gives another client the stale value while one refreshes', async () => {
    const options = { ttlMs: 30, graceMs: 60_000 }
    await one.cache.getOrSet('held', () => 'old', options)
    await sleep(50)
    const refreshed = one.cache.getOrSet('held', () => sleep(150, 'new'), options)
    await sleep(30)
    assert.equal(await other.cache.getOrSet('held', never, options), 'old')
    assert.equal(await refreshed, 'new')
  })

  test('soft timeout: the stale value first, the fresh one when it is there', async () => {
    const options = { ttlMs: 60_000, graceMs: 60_000, timeoutMs: 20 }
    await one.cache.getOrSet('soft', () => 'old', { ...options, ttlMs: 30 })
    await sleep(40)
    assert.equal(await one.cache.getOrSet('soft', () => sleep(200, 'new'), options), 'old')
    await untilValue('soft', 'new')
    assert.equal(await one.cache.getOrSet('soft', () => 'newer', options), 'new')
  })

  test('soft timeout means nothing without a stale value', async () => {
    const options = { ttlMs: 60_000, graceMs: 60_000, timeoutMs: 5 }
    assert.equal(await one.cache.getOrSet('soft miss', () => sleep(60, 'new'), options), 'new')
  })

  test('hard timeout: rejects with TIMEOUT, and what the factory brings is stored', async () => {
    const factory = counter(120)
    await assert.rejects(one.cache.getOrSet('hard', factory, { hardTimeoutMs: 20 }), {
      code: 'TIMEOUT',
    })
    await untilValue('hard', 1)
    assert.equal(await one.cache.getOrSet('hard', never), 1)
    assert.equal(factory.runs, 1)
  })

  test('refreshes ahead, once, while everybody gets what is there', async () => {
    const factory = counter(60)
    const options = { ttlMs: 1_000, eagerAt: 0.3 }
    assert.equal(await one.cache.getOrSet('eager', factory, options), 1)
    assert.equal(await other.cache.getOrSet('eager', never, options), 1)
    await sleep(400)
    const calls = [one, other, one, other].map(client =>
      client.cache.getOrSet('eager', factory, options),
    )
    assert.deepEqual(await Promise.all(calls), [1, 1, 1, 1])
    await untilValue('eager', 2)
    assert.equal(await other.cache.getOrSet('eager', never, options), 2)
    assert.equal(factory.runs, 2)
  })

  test('keeps undefined for negativeTtlMs, and not at all without', async () => {
    const factory = counter()
    const nothing = async () => void (await factory())
    assert.equal(await one.cache.getOrSet('nothing', nothing), undefined)
    assert.equal(await one.cache.getOrSet('nothing', nothing), undefined)
    assert.equal(factory.runs, 2)
    const options = { negativeTtlMs: 60_000 }
    assert.equal(await one.cache.getOrSet('nothing', nothing, options), undefined)
    assert.equal(await other.cache.getOrSet('nothing', never as () => undefined), undefined)
    assert.equal(factory.runs, 3)
    const calls = [one, other].map(client =>
      client.cache.getOrSet('shared nothing', () => sleep(60).then(nothing)),
    )
    assert.deepEqual(await Promise.all(calls), [undefined, undefined])
    assert.equal(factory.runs, 4)
  })

  test('forceFresh runs the factory whatever is stored', async () => {
    const factory = counter()
    assert.equal(await one.cache.getOrSet('force', factory), 1)
    assert.equal(await one.cache.getOrSet('force', factory, { forceFresh: true }), 2)
    assert.equal(await other.cache.get('force'), 2)
  })

  test('a writer runs before anything is stored, and its failure leaves the cache untouched', async () => {
    const written: unknown[] = []
    const write = (value: unknown, key: string) => written.push([key, value])
    const fails = () => Promise.reject(new Error('disk on fire'))
    assert.equal(await one.cache.set('through', 1, { write }), true)
    await assert.rejects(one.cache.set('through', 2, { write: fails }), /disk on fire/)
    assert.equal(await one.cache.get('through'), 1)
    await assert.rejects(
      one.cache.getOrSet('got through', () => 3, { write: fails }),
      /on fire/,
    )
    assert.equal(await one.cache.get('got through'), undefined)
    assert.equal(await one.cache.getOrSet('got through', () => 4, { write }), 4)
    assert.deepEqual(written, [
      ['through', 1],
      ['got through', 4],
    ])
    // What cannot be stored is not written either.
    await assert.rejects(async () => one.cache.set('through', 5, { write, ttlMs: -1 }), TypeError)
    assert.equal(written.length, 2)
  })

  test('does not store what was read before the key was deleted', async () => {
    const begun = Promise.withResolvers<void>()
    const loading = one.cache.getOrSet('deleted', () => {
      begun.resolve()
      return sleep(80, 'old')
    })
    await begun.promise
    await other.cache.delete('deleted')
    assert.equal(await loading, 'old')
    assert.equal(await one.cache.get('deleted'), undefined)
  })

  test('who asks after a delete is not given what was read before it', async () => {
    // Only once it has begun was it read before: on a busy machine the claim may come after the delete.
    const begun = Promise.withResolvers<void>()
    const loading = one.cache.getOrSet('read before', () => {
      begun.resolve()
      return sleep(80, 'old')
    })
    await begun.promise
    await other.cache.delete('read before')
    const factory = counter()
    const asked = Array.from({ length: 5 }, () =>
      one.cache.getOrSet<unknown>('read before', factory),
    )
    assert.equal(await loading, 'old')
    assert.deepEqual(await Promise.all(asked), new Array(5).fill(1))
    assert.equal(factory.runs, 1)
  })

  test('a client inside the engine’s process that is closed gives its claim up', async () => {
    const local = embedded.local()
    await local.untilOpen()
    let runs = 0
    const begun = Promise.withResolvers<void>()
    const held = local.cache.getOrSet('local', () => {
      begun.resolve()
      return sleep(100, ++runs)
    })
    await begun.promise
    const taken = one.cache.getOrSet('local', () => sleep(0, ++runs))
    await sleep(20)
    await local.close()
    assert.equal(await taken, 2)
    await assert.rejects(held, { code: 'CLOSED' })
    assert.equal(await one.cache.get('local'), 2)
  })

  test('a value too large for its limit is an error, and holds up nobody', async () => {
    const huge = () => Buffer.alloc(9 << 20)
    await assert.rejects(one.cache.getOrSet('huge', huge as () => unknown), {
      code: 'VALUE_TOO_LARGE',
    })
    const options = { hardTimeoutMs: 5_000 }
    assert.equal(await other.cache.getOrSet<unknown>('huge', () => 'small', options), 'small')
  })

  test('options that make no sense are a TypeError before anything runs', async () => {
    for (const options of [
      { eagerAt: 0.8 },
      { eagerAt: 80, ttlMs: 1_000 },
      { timeoutMs: -1 },
      { hardTimeoutMs: Number.NaN },
      { ttlMs: -1 },
      { negativeTtlMs: -1 },
      { write: 1 },
      { ifVersion: 1 },
      { color: 'red' },
    ]) {
      await assert.rejects(one.cache.getOrSet('senseless', never, options as never), TypeError)
    }
    await assert.rejects(one.cache.getOrSet('senseless', 5 as never), TypeError)
  })
})

test('with failOpen an engine that is down costs one run of the factory a client, not a call', async t => {
  const engine = prepare(t)
  const client = await engine.connect({ failOpen: true })
  const factory = counter(50)
  const calls = Array.from({ length: 20 }, () => client.cache.getOrSet('down', factory))
  assert.deepEqual(await Promise.all(calls), new Array(20).fill(1))
  assert.equal(factory.runs, 1)
})

test('an engine that goes down while the factory runs costs no second run', async t => {
  const { engine, connect } = await embed(t)
  const client = await connect({ failOpen: true })
  const factory = counter(300)
  const calls = Array.from({ length: 20 }, () => client.cache.getOrSet('down', factory))
  await sleep(50)
  await engine.close()
  assert.deepEqual(await Promise.all(calls), new Array(20).fill(1))
  assert.equal(factory.runs, 1)
})

test('without failOpen an engine that is down is UNAVAILABLE', async t => {
  const { engine, connect } = await embed(t)
  const client = await connect({ failOpen: false, timeoutMs: 300 })
  await engine.close()
  await assert.rejects(client.cache.getOrSet('down', never), (error: { code: string }) =>
    ['UNAVAILABLE', 'TIMEOUT'].includes(error.code),
  )
})
