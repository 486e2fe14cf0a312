/** The table itself: codes are fixed for good, every row is sound, and a stream cut anywhere gives the same frames.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Holds:  the lists below only ever grow. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ERROR_BY_WIRE, ERRORS } from '../engine/errors.ts'
import { Deframer } from '../engine/protocol/deframer.ts'
import { HEADER_BYTES, writeHeader } from '../engine/protocol/header.ts'
import {
  DURABILITY,
  type FrameSpec,
  OP_BY_CODE,
  OPS,
  PROTOCOL_VERSION,
  REPLIES,
  REPLY_BY_CODE,
} from '../engine/protocol/spec.ts'
import { FULL, randomTest } from './helpers/random.ts'

/** What has been on a wire stays what it was. New rows are added here; a change of an old one needs a new version. */
const CODES = {
  version: 1,
  requests: {
    HELLO: 0x01,
    PING: 0x02,
    ATTACH: 0x03,
    GET: 0x10,
    SET: 0x11,
    DEL: 0x12,
    KEYS: 0x13,
    LOOKUP: 0x14,
    GET_MANY: 0x15,
    SET_MANY: 0x16,
    TOUCH: 0x17,
    INVALIDATE_TAGS: 0x18,
    INVALIDATE_PATTERN: 0x19,
    INSPECT: 0x1a,
    EXPLAIN: 0x1b,
    COUNT_READS: 0x1c,
    STORE: 0x1d,
    INCREMENT: 0x1e,
    QUERY: 0x20,
    CANCEL: 0x21,
    BEGIN: 0x22,
    EXECUTE: 0x23,
    COMMIT: 0x24,
    CLOSE: 0x25,
    STREAM: 0x26,
    FETCH: 0x27,
    COPY_OUT: 0x28,
    COPY_READ: 0x29,
    COPY_IN: 0x2a,
    COPY_WRITE: 0x2b,
    COPY_END: 0x2c,
    LISTEN: 0x2d,
    METRICS: 0x04,
    SERIES: 0x05,
    ALERTS: 0x06,
    ALERT_TEST: 0x07,
    STATS: 0x30,
    HEALTH: 0x31,
    PUT: 0x40,
    READ_PART: 0x41,
    PUT_BEHIND: 0x42,
    PUT_EXTRA: 0x43,
    RETIME: 0x44,
    ADD: 0x45,
    PUT_MANY: 0x46,
    DELETE_MATCHING: 0x47,
    FLUSH: 0x48,
    CLAIM: 0x50,
    FILL: 0x51,
    RELEASE: 0x52,
    PUBLISH: 0x53,
    SUBSCRIBE: 0x56,
    QUERY_CACHED: 0x2e,
    EXPLAIN_CACHE: 0x2f,
    QUERY_TO_CACHE: 0x34,
    WATCH_WRITES: 0x35,
    REFRESH: 0x60,
    SAVE_HOT: 0x54,
    LOAD_HOT: 0x55,
    SAVE_RESULTS: 0x49,
    LOAD_RESULTS: 0x4a,
    ADVISE_RESULT: 0x38,
    INTRODUCE: 0x36,
    CACHE_OUTCOMES: 0x37,
    INSIGHT: 0x5c,
    INSIGHT_ADMIN: 0x5e,
    COUNT_IN_PLACE: 0x5d,
    LIMIT_CHECK: 0x57,
    SERVICE: 0x59,
    REPORT_CALLS: 0x5a,
    TRY_SERVICE: 0x5b,
    COUNT_BYTES: 0x64,
    STOP: 0x7f,
  },
  replies: {
    OK: 0x80,
    VALUE_MEMORY: 0x81,
    VALUE_SQLITE: 0x82,
    MISS: 0x83,
    COUNT: 0x84,
    RESULT: 0x85,
    PART: 0x86,
    GREETING: 0x87,
    ROWS: 0x88,
    OPENED: 0x89,
    CHUNK: 0x8a,
    LISTENING: 0x8b,
    NOTIFICATION: 0x8c,
    GAP: 0x8d,
    ERROR: 0x8f,
    ENTRY: 0x90,
    INSPECTED: 0x91,
    VALUES: 0x92,
    CLAIMED: 0x93,
    SETTLED: 0x94,
    HELD: 0x95,
    NOTHING: 0x96,
    MESSAGE: 0x97,
    CACHEABLE: 0x8e,
    INVALIDATED: 0xc7,
    FOUND: 0xc0,
    FOUND_LARGE: 0xc1,
    BYTES: 0xc2,
    ABSENT: 0xc3,
    READY: 0xc4,
    FOUND_EXTRA: 0xc5,
    FOUND_MANY: 0xc6,
    HOT: 0x98,
    LIMIT: 0x99,
    LEAVING: 0xa0,
  },
  durability: { commit: 0, memory: 1 },
  errors: {
    BAD_REQUEST: 0x01,
    PROTOCOL: 0x02,
    KEY_TOO_LARGE: 0x03,
    VALUE_TOO_LARGE: 0x04,
    FORBIDDEN: 0x05,
    RATE_LIMITED: 0x06,
    BUSY: 0x07,
    TIMEOUT: 0x08,
    UNAVAILABLE: 0x09,
    CIRCUIT_OPEN: 0x0a,
    POOL_EXHAUSTED: 0x0b,
    DATABASE: 0x0c,
    READ_ONLY: 0x0d,
    NOT_CONFIGURED: 0x0e,
    CLOSED: 0x0f,
  },
} as const

const FRAMES: [string, FrameSpec][] = [
  ...Object.entries<FrameSpec>(OPS),
  ...Object.entries<FrameSpec>(REPLIES),
]

test('codes are what they have always been', () => {
  assert.equal(PROTOCOL_VERSION, CODES.version)
  const codes = (table: Record<string, FrameSpec>) =>
    Object.fromEntries(Object.entries(table).map(([name, spec]) => [name, spec.code]))
  assert.deepEqual(codes(OPS), CODES.requests)
  assert.deepEqual(codes(REPLIES), CODES.replies)
  assert.deepEqual(DURABILITY, CODES.durability)
  const wires = Object.fromEntries(Object.entries(ERRORS).map(([code, spec]) => [code, spec.wire]))
  assert.deepEqual(wires, CODES.errors)
})

describe('every row', () => {
  test('has a code of its own, a byte, not 0 (a ring’s pad), and its direction shows in it', () => {
    const codes = FRAMES.map(([, { code }]) => code)
    assert.equal(new Set(codes).size, codes.length)
    for (const { code } of Object.values(OPS)) assert.ok(code > 0 && code < 0x80, `request ${code}`)
    for (const { code } of Object.values(REPLIES))
      assert.ok(code >= 0x80 && code <= 0xff, `reply ${code}`)
  })

  test('is found by its code', () => {
    for (const [name, { code }] of Object.entries(OPS)) assert.equal(OP_BY_CODE.get(code), name)
    for (const [name, { code }] of Object.entries(REPLIES))
      assert.equal(REPLY_BY_CODE.get(code), name)
    assert.equal(OP_BY_CODE.size + REPLY_BY_CODE.size, FRAMES.length)
  })

  test('names each argument once, and what runs to the end stands at the end', () => {
    for (const [name, { args }] of FRAMES) {
      assert.equal(new Set(args.map(([arg]) => arg)).size, args.length, name)
      const openAt = args.findIndex(
        ([, kind]) => kind === 'raw' || kind === 'bytes' || kind === 'values',
      )
      if (openAt >= 0)
        assert.equal(openAt, args.length - 1, `${name} goes on behind its ${args[openAt]?.[1]}`)
    }
  })

  test('of a request says who answers, and with which replies', () => {
    for (const [name, spec] of Object.entries<FrameSpec>(OPS)) {
      assert.ok(spec.worker !== undefined, name)
      // CANCEL alone is answered by the reply of the request that it names.
      if (name === 'CANCEL') assert.equal(spec.replies, undefined)
      else assert.ok(spec.replies !== undefined && spec.replies.length > 0, name)
      for (const reply of spec.replies ?? [])
        assert.ok(reply in REPLIES, `${name} is answered by ${reply}`)
    }
  })

  test('has a sentence', () => {
    for (const [name, { doc }] of FRAMES) assert.match(doc, /^[A-Z].*\.$/, name)
  })
})

test('every error has a wire number of its own', () => {
  assert.equal(ERROR_BY_WIRE.size, Object.keys(ERRORS).length)
})

describe('a stream', () => {
  interface Frame {
    readonly op: number
    readonly id: number
    readonly body: string
  }

  randomTest('cut anywhere gives each frame once, whole, in order', {}, random => {
    for (let round = 0; round < (FULL ? 5_000 : 300); round++) {
      const frames: Frame[] = []
      const parts: Buffer[] = []
      for (let i = random.between(1, 30); i > 0; i--) {
        const body = random.bytes(
          random.chance(0.2) ? 0 : random.chance(0.9) ? random.below(60) : random.below(20_000),
        )
        const frame = { op: random.below(256), id: random.next(), body: body.toString('hex') }
        const header = Buffer.alloc(HEADER_BYTES)
        writeHeader(header, 0, frame.op, frame.id, body.length)
        frames.push(frame)
        parts.push(header, body)
      }
      assert.deepEqual(
        deframed(Buffer.concat(parts), () => random.between(1, random.chance(0.5) ? 12 : 9_000)),
        frames,
      )
    }
  })

  test('that is cut off leaves its last frame out', () => {
    const whole = Buffer.alloc(HEADER_BYTES + 4)
    writeHeader(whole, 0, 1, 1, 4)
    for (let end = 0; end < whole.length; end++)
      assert.deepEqual(
        deframed(whole.subarray(0, end), () => 5),
        [],
      )
    assert.equal(deframed(whole, () => 5).length, 1)
  })

  /** Through one read buffer, which is overwritten each time, as a socket's is. */
  function deframed(stream: Buffer, nextCut: () => number): Frame[] {
    const found: Frame[] = []
    const deframer = new Deframer((op, id, bytes, start, end) => {
      found.push({ op, id, body: bytes.toString('hex', start, end) })
    })
    const read = Buffer.alloc(10_000)
    for (let at = 0; at < stream.length; ) {
      const taken = stream.copy(read, 0, at, Math.min(stream.length, at + nextCut()))
      deframer.push(read, taken)
      read.fill(0xee)
      at += taken
    }
    return found
  }
})
