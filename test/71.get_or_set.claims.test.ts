/** Claims on the wire: who gets a key, who waits, what a token is worth, and what ends a claim.
 *  Owns:   one embedded engine.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { CLAIM_SESSION_COUNT_MAX } from '../engine/limits.ts'
import { decodeValue, encodeValue } from '../engine/protocol/payload.ts'
import { OPS } from '../engine/protocol/spec.ts'
import { type Embedded, embed } from './helpers/engine.ts'
import { del, errorOf, frame, get, nameOf, RawClient, type Reply, set } from './helpers/frames.ts'

interface Terms {
  waitMs?: number
  limitMs?: number
  seen?: number | null
  flags?: number
  tags?: string[]
}

const claim = (id: number, key: string, terms: Terms = {}): Buffer => {
  const { waitMs = 9_000, limitMs = 60_000, seen = null, flags = 0, tags = [] } = terms
  return frame(OPS.CLAIM.code, id, key, waitMs, limitMs, seen, flags, tags)
}
const fill = (id: number, token: number, key: string, value: unknown, tags: string[] = []) =>
  frame(OPS.FILL.code, id, token, key, 60_000, 0, null, 0, 0, 0, 0, tags, encodeValue(value))
const release = (id: number, token: number, key: string, outcome = 0, restMs = 0) =>
  frame(OPS.RELEASE.code, id, token, key, outcome, restMs)

describe('a claim', () => {
  const endings: (() => Promise<void>)[] = []
  const open: RawClient[] = []
  let embedded: Embedded
  before(async () => {
    embedded = await embed({ after: end => endings.push(end) })
  })
  after(async () => {
    for (const client of open) await client.close()
    for (const end of endings) await end()
  })

  async function clients(count: number): Promise<RawClient[]> {
    const made = await Promise.all(
      Array.from({ length: count }, () => RawClient.open(embedded.socket)),
    )
    for (const client of made) await client.hello()
    open.push(...made)
    return made
  }
  const tokenOf = (reply: Reply): number => {
    assert.equal(nameOf(reply), 'CLAIMED')
    return decodeValue(reply.body) as number
  }
  const countOf = (reply: Reply): number => {
    assert.equal(nameOf(reply), 'COUNT')
    return decodeValue(reply.body) as number
  }
  const nothingYet = async (client: RawClient): Promise<void> => {
    await sleep(60)
    assert.deepEqual(client.replies.map(nameOf), [])
  }

  test('is one client’s, and its fill answers all who wait', async () => {
    const [a, b, c] = await clients(3)
    const token = tokenOf(await a!.send(claim(2, 'fill')).reply(2))
    b!.send(claim(2, 'fill'))
    c!.send(claim(2, 'fill'))
    await nothingYet(b!)
    assert.equal(countOf(await a!.send(fill(3, token, 'fill', 'value')).reply(3)), 1)
    assert.equal(nameOf(await b!.reply(2)), 'SETTLED')
    assert.equal(nameOf(await c!.reply(2)), 'SETTLED')
    const found = await b!.send(get(3, 'fill')).reply(3)
    assert.equal(decodeValue(found.body), 'value')
    // Too late to be needed.
    assert.equal(nameOf(await c!.send(claim(4, 'fill')).reply(4)), 'SETTLED')
  })

  test('of a closed connection goes to exactly one who waits', async () => {
    const [a, b, c] = await clients(3)
    const old = tokenOf(await a!.send(claim(2, 'closed')).reply(2))
    b!.send(claim(2, 'closed'))
    await nothingYet(b!)
    c!.send(claim(2, 'closed'))
    await nothingYet(c!)
    await a!.close()
    const token = tokenOf(await b!.reply(2))
    assert.notEqual(token, old)
    await nothingYet(c!)
    assert.equal(countOf(await c!.send(fill(3, old, 'closed', 'old')).reply(3)), 0)
    assert.equal(nameOf(await c!.send(get(4, 'closed')).reply(4)), 'MISS')
    assert.equal(countOf(await b!.send(fill(3, token, 'closed', 'new')).reply(3)), 1)
    assert.equal(nameOf(await c!.reply(2)), 'SETTLED')
  })

  test('is passed on by a failure, and ends for all when there is nothing', async () => {
    const [a, b, c] = await clients(3)
    const first = tokenOf(await a!.send(claim(2, 'failed')).reply(2))
    b!.send(claim(2, 'failed'))
    await nothingYet(b!)
    c!.send(claim(2, 'failed'))
    await nothingYet(c!)
    assert.equal(countOf(await a!.send(release(3, first, 'failed')).reply(3)), 1)
    const second = tokenOf(await b!.reply(2))
    assert.equal(countOf(await a!.send(release(4, first, 'failed')).reply(4)), 0)
    assert.equal(countOf(await b!.send(release(3, second, 'failed', 1)).reply(3)), 1)
    assert.equal(nameOf(await c!.reply(2)), 'NOTHING')
  })

  test('past its time goes to one who waits, and a late fill is dropped', async () => {
    const [a, b] = await clients(2)
    const old = tokenOf(await a!.send(claim(2, 'slow', { limitMs: 50 })).reply(2))
    const token = tokenOf(await b!.send(claim(2, 'slow')).reply(2))
    assert.equal(countOf(await a!.send(fill(3, old, 'slow', 'late')).reply(3)), 0)
    assert.equal(nameOf(await b!.send(get(3, 'slow')).reply(3)), 'MISS')
    assert.equal(countOf(await b!.send(release(4, token, 'slow')).reply(4)), 1)
  })

  test('past its time that nobody else wants may still be filled', async () => {
    const [a] = await clients(1)
    const token = tokenOf(await a!.send(claim(2, 'alone', { limitMs: 1 })).reply(2))
    await sleep(120)
    assert.equal(countOf(await a!.send(fill(3, token, 'alone', 1)).reply(3)), 1)
  })

  test('is settled by anybody’s set, one or many', async () => {
    const [a, b] = await clients(2)
    for (const [i, key] of ['set', 'set many'].entries()) {
      const token = tokenOf(await a!.send(claim(10 + i, key)).reply(10 + i))
      b!.send(claim(10 + i, key))
      await nothingYet(b!)
      const bin = Buffer.from([0xc4, 1, 7])
      const entries = Buffer.concat([Buffer.from([0x92]), encodeValue(key), bin])
      const stored = i === 0 ? set(20, key, 7) : frame(OPS.SET_MANY.code, 20, null, 0, entries)
      assert.equal(nameOf(await a!.send(stored).reply(20)), 'OK')
      assert.equal(nameOf(await b!.reply(10 + i)), 'SETTLED')
      assert.equal(countOf(await a!.send(fill(30, token, key, 'old')).reply(30)), 0)
      assert.equal(decodeValue((await b!.send(get(40, key)).reply(40)).body), 7)
    }
  })

  for (const [what, invalidation] of [
    ['a delete', () => del(3, 'void')],
    ['its tag', () => frame(OPS.INVALIDATE_TAGS.code, 3, ['room'])],
    ['a pattern', () => frame(OPS.INVALIDATE_PATTERN.code, 3, 'vo*')],
  ] as const) {
    test(`is void after ${what}: what was read before is not stored`, async () => {
      const [a, b] = await clients(2)
      const token = tokenOf(await a!.send(claim(2, 'void', { tags: ['room'] })).reply(2))
      assert.equal(countOf(await b!.send(invalidation()).reply(3)), 0)
      b!.send(claim(4, 'void'))
      await nothingYet(b!)
      assert.equal(countOf(await a!.send(fill(3, token, 'void', 'old', ['room'])).reply(3)), 0)
      const next = tokenOf(await b!.reply(4))
      assert.equal(nameOf(await b!.send(get(5, 'void')).reply(5)), 'MISS')
      await b!.send(release(6, next, 'void')).reply(6)
    })
  }

  test('that failed rests for those who have a stale value', async () => {
    const [a, b, c] = await clients(3)
    const token = tokenOf(await a!.send(claim(2, 'rest', { flags: 1 })).reply(2))
    b!.send(claim(2, 'rest', { flags: 1 }))
    await nothingYet(b!)
    await a!.send(release(3, token, 'rest', 0, 60_000)).reply(3)
    assert.equal(nameOf(await b!.reply(2)), 'HELD')
    assert.equal(nameOf(await a!.send(claim(4, 'rest', { flags: 1 })).reply(4)), 'HELD')
    tokenOf(await c!.send(claim(4, 'rest')).reply(4))
  })

  test('rests no longer than it is told to', async () => {
    const [a] = await clients(1)
    const token = tokenOf(await a!.send(claim(2, 'brief rest', { flags: 1 })).reply(2))
    await a!.send(release(3, token, 'brief rest', 0, 20)).reply(3)
    await sleep(150)
    tokenOf(await a!.send(claim(4, 'brief rest', { flags: 1 })).reply(4))
  })

  test('is waited for no longer than asked', async () => {
    const [a, b] = await clients(2)
    tokenOf(await a!.send(claim(2, 'wait')).reply(2))
    assert.equal(nameOf(await b!.send(claim(2, 'wait', { waitMs: 0 })).reply(2)), 'HELD')
    assert.equal(nameOf(await b!.send(claim(3, 'wait', { waitMs: 30 })).reply(3)), 'HELD')
  })

  test('is not given for an entry that changed since it was seen', async () => {
    const [a] = await clients(1)
    await a!.send(set(2, 'seen', 1)).reply(2)
    const client = embedded.local()
    await client.untilOpen()
    const { version } = (await client.cache.lookup('seen'))!
    const other = await a!.send(claim(3, 'seen', { seen: version + 1 })).reply(3)
    assert.equal(nameOf(other), 'SETTLED')
    tokenOf(await a!.send(claim(4, 'seen', { seen: version })).reply(4))
  })

  test('waiters of one connection are bounded, and a closed one leaves nothing', async () => {
    const [a, b] = await clients(2)
    tokenOf(await a!.send(claim(2, 'bound')).reply(2))
    const asked = Array.from({ length: CLAIM_SESSION_COUNT_MAX + 1 }, (_, i) =>
      claim(i + 2, 'bound'),
    )
    b!.send(...asked)
    const refused = await b!.reply(CLAIM_SESSION_COUNT_MAX + 2)
    assert.equal(nameOf(refused), 'ERROR')
    assert.equal(errorOf(refused).wire, 0x07)
    await b!.close()
    await a!.close()
    const [c] = await clients(1)
    tokenOf(await c!.send(claim(2, 'bound')).reply(2))
  })
})
