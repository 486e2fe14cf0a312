/** Claims against a simple model: random clients claim, fill, release, delete, set and go away, in any order.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Holds:  the model knows one thing of a key: the token that was given last, and whether it is still good. */

import assert from 'node:assert/strict'
import { hashKey } from '../engine/hash.ts'
import { BodyReader } from '../engine/protocol/body.ts'
import { Deframer } from '../engine/protocol/deframer.ts'
import { decodeValue, encodeValue } from '../engine/protocol/payload.ts'
import { OPS, REPLIES } from '../engine/protocol/spec.ts'
import { Claims } from '../engine/router/claims.ts'
import { flushReplies, ReplyWriter } from '../engine/router/reply.ts'
import { FULL, type Random, randomTest } from './helpers/random.ts'

const STEPS = FULL ? 500_000 : 30_000
const SESSIONS = 6
const KEYS = ['a', 'b', 'c']

interface Session {
  readonly replies: ReplyWriter
  /** Claims that have no answer yet, by id: their key. */
  readonly asked: Map<number, string>
  nextId: number
  lastCount: number
}

interface Known {
  readonly session: Session
  readonly token: number
  isVoid: boolean
}

class World {
  readonly claims = new Claims(
    {
      key: request => {
        request.textRange()
        return hashKey(0, request.bytes, request.textStart, request.textEnd)
      },
      freshVersion: () => -1,
    },
    (replies, id, bytes, start, end) => {
      // The body is that of a STORE: it begins with the key.
      assert.ok(KEYS.includes(new BodyReader().reset(bytes, start, end).text()))
      replies.count(id, 1)
      return true
    },
  )
  readonly sessions = Array.from({ length: SESSIONS }, () => this.open())
  readonly holders = new Map<string, Known>()
  /** Every token there ever was, the last few of a key. */
  readonly tokens = new Map<string, number[]>(KEYS.map(key => [key, [1]]))
  grants = 0

  open(): Session {
    const deframer = new Deframer((op, id, bytes, start, end) =>
      this.take(session, op, id, bytes, start, end),
    )
    const outlet = {
      send: (bytes: Buffer) => {
        deframer.push(bytes, bytes.length)
        return true
      },
      onceSent: () => undefined,
    }
    const replies = new ReplyWriter(outlet, () => false)
    const session: Session = { replies, asked: new Map(), nextId: 1, lastCount: -1 }
    return session
  }

  claim(session: Session, key: string, waitMs: number, flags: number): void {
    const id = session.nextId++
    session.asked.set(id, key)
    const [body, end] = bodyOf(key, waitMs, 500_000, null, flags, [])
    this.claims.claim(session.replies, id, body, 0, end)
    flushReplies()
  }

  /** By whoever has the token, or has had it. */
  fill(session: Session, key: string, token: number): void {
    const known = this.end(key, token)
    const [body, end] = bodyOf(token, key, 'rest')
    this.claims.fill(session.replies, session.nextId++, body, 0, end)
    flushReplies()
    assert.equal(session.lastCount, known !== undefined && !known.isVoid ? 1 : 0)
  }

  release(session: Session, key: string, token: number, outcome: number, restMs: number): void {
    const known = this.end(key, token)
    const [body, end] = bodyOf(token, key, outcome, restMs)
    this.claims.release(session.replies, session.nextId++, body, 0, end)
    flushReplies()
    assert.equal(session.lastCount, known !== undefined ? 1 : 0)
  }

  change(op: number, key: string): void {
    if (op === OPS.SET.code) this.holders.delete(key)
    else if (this.holders.has(key)) this.holders.get(key)!.isVoid = true
    const [body, end] = bodyOf(key)
    this.claims.observe(op, body, 0, end)
    flushReplies()
  }

  leave(place: number): void {
    const session = this.sessions[place]!
    for (const [key, known] of this.holders) if (known.session === session) this.holders.delete(key)
    session.replies.end()
    this.claims.sessionEnded(session.replies)
    this.sessions[place] = this.open()
  }

  private end(key: string, token: number): Known | undefined {
    const known = this.holders.get(key)
    if (known?.token !== token) return undefined
    this.holders.delete(key)
    return known
  }

  private take(
    session: Session,
    op: number,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void {
    if (op === REPLIES.COUNT.code) {
      session.lastCount = decodeValue(bytes, start, end) as number
      return
    }
    const key = session.asked.get(id)
    assert.ok(key !== undefined, 'an answer that nobody asked for')
    session.asked.delete(id)
    if (op !== REPLIES.CLAIMED.code) return
    this.grants++
    assert.equal(this.holders.get(key), undefined, 'a key has two holders')
    const token = decodeValue(bytes, start, end) as number
    assert.ok(!this.tokens.get(key)!.includes(token), 'a token was given twice')
    this.holders.set(key, { session, token, isVoid: false })
    const tokens = this.tokens.get(key)!
    if (tokens.push(token) > 5) tokens.shift()
  }
}

randomTest('a key has one holder at a time, and only its newest token counts', {}, random => {
  const world = new World()
  for (let i = 0; i < STEPS; i++) step(world, random)
  // Whoever holds a key gives it back until nobody is left who waits.
  for (let left = 10_000; world.holders.size > 0; left--) {
    assert.ok(left > 0, 'the waiting never ends')
    for (const [key, { session, token }] of world.holders) world.release(session, key, token, 0, 0)
  }
  for (const { asked } of world.sessions) assert.equal(asked.size, 0)
  for (let place = 0; place < SESSIONS; place++) world.leave(place)
  for (const key of KEYS) world.change(OPS.DEL.code, key)
  assert.equal(world.claims.any, false)
  assert.ok(world.grants > STEPS / 20)
})

function step(world: World, random: Random): void {
  const key = random.pick(KEYS)
  const session = random.pick(world.sessions)
  const draw = random.below(100)
  if (draw < 50) {
    const waitMs = random.chance(0.2) ? 0 : 60_000
    if (session.asked.size < 20) world.claim(session, key, waitMs, random.below(4))
  } else if (draw < 70) world.fill(session, key, random.pick(world.tokens.get(key)!))
  else if (draw < 85) {
    const token = random.pick(world.tokens.get(key)!)
    world.release(session, key, token, random.below(2), random.chance(0.3) ? 60_000 : 0)
  } else if (draw < 90) world.change(OPS.DEL.code, key)
  else if (draw < 95) world.change(OPS.SET.code, key)
  else world.leave(random.below(SESSIONS))
}

/** A body, and where it ends. */
function bodyOf(...args: readonly unknown[]): [Buffer, number] {
  const body = Buffer.concat(args.map(arg => encodeValue(arg)))
  return [body, body.length]
}
