/** Frames by the hundred thousand, mutated by what they reach in the session, the router and the cache of a whole engine.
 *  Owns:   one engine in this process.   Thread: main of a test process.
 *  Runs:   beside others, since no figure of it is near a bound.
 *  Holds:  nothing is thrown out of a session; no request meets a bug, which the log tells; what comes back is whole replies of the
 *          protocol; at the end a witness's entry is as it was. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Deframer } from '../engine/protocol/deframer.ts'
import { encodeValue } from '../engine/protocol/payload.ts'
import { type ArgKind, type FrameSpec, OPS, REPLY_BY_CODE } from '../engine/protocol/spec.ts'
import { ownPeer } from '../engine/server/peer.ts'
import { Session } from '../engine/server/session.ts'
import type { Wire } from '../engine/server/session_context.ts'
import type { Ending } from './helpers/engine.ts'
import { type OpenedEngine, openEngine } from './helpers/engine_parts.ts'
import { frame, get, hello, set } from './helpers/frames.ts'
import { fuzz } from './helpers/fuzz.ts'
import { FULL, randomTest } from './helpers/random.ts'

const FUZZ_MS = FULL ? 120_000 : 2_000

/** Names by which an argument may be right, so that mutants get past the first check. */
const ARGUMENTS: Readonly<Record<string, unknown>> = {
  key: 'fuzz:1',
  ttl: 1_000,
  tags: ['fuzz'],
  sql: 'select 1',
  database: 'main',
}

randomTest(
  'no frame harms a session, the engine or another client’s entry',
  { timeout: FUZZ_MS + 60_000 },
  async (random, t) => {
    const parts = await openEngine(t)
    const bugs = bugsOfLog(t)
    const witness = await parts.connect({ sharedMemory: false })
    await witness.cache.set('witness', { kept: true }, { ttlMs: 0, tags: ['witness'] })
    const examples = Object.values(OPS as Record<string, FrameSpec>).map((op, i) =>
      exampleOf(op, i),
    )
    const report = await fuzz(
      {
        name: 'frames',
        sources: /\/engine\/(server|router|cache|protocol)\//,
        examples: [...examples, Buffer.concat(examples)],
        words: [
          get(9, 'fuzz:1'),
          set(9, 'fuzz:2', 'value'),
          encodeValue('fuzz:1'),
          encodeValue(null),
        ],
        inputBytesMax: 4_096,
        run: input => sent(parts, input, random.below(3), bugs),
      },
      random,
      FUZZ_MS,
    )
    t.diagnostic(JSON.stringify(report))
    assert.deepEqual(bugs, [])
    assert.ok(report.inputs > 200)
    // A mutant may end everything or delete by pattern; then the entry is gone, but never another.
    const kept = await witness.cache.get('witness')
    assert.ok(kept === undefined || (kept as { kept: boolean }).kept)
    assert.equal((await witness.health()).parts['sqlite']!.status, 'ok')
  },
)

test('a seed that fails names itself', async t => {
  const { Random } = await import('./helpers/random.ts')
  const target = {
    name: 'none',
    sources: /nothing/,
    examples: [Buffer.from('fails')],
    words: [],
    inputBytesMax: 10,
    run: () => assert.fail('as it should'),
  }
  await assert.rejects(fuzz(target, new Random(1), 10), /this input, in base64, fails: ZmFpbHM=/)
  t.diagnostic('replayed by adding the line to test/seeds')
})

/** HELLO, then the input, in one piece or in several; what comes back must be frames of ours. */
async function sent(
  { engine }: OpenedEngine,
  input: Buffer,
  cuts: number,
  bugs: readonly string[],
): Promise<void> {
  const deframer = new Deframer((op, _id, bytes, start, end) => {
    assert.ok(REPLY_BY_CODE.has(op), `no reply has the number ${op}`)
    assert.ok(end >= start && end <= bytes.length)
  })
  let isClosed = false
  const close = () => {
    isClosed = true
    session.end()
  }
  const wire: Wire = {
    send: bytes => {
      deframer.push(Buffer.from(bytes), bytes.length)
      return true
    },
    onceSent: callback => void setImmediate(callback),
    unsentBytes: () => 0,
    pauseReads: () => undefined,
    resumeReads: () => undefined,
    close,
    destroy: close,
  }
  const { isLocal: _, ...own } = ownPeer()
  const peer = { ...own, uid: 12_345 }
  const session = new Session('fuzz', peer, wire, engine.context)
  const greeting = hello()
  session.receive(greeting, greeting.length)
  for (let part = 0; part <= cuts && !isClosed; part++) {
    const from = Math.floor((input.length * part) / (cuts + 1))
    const bytes = input.subarray(from, Math.floor((input.length * (part + 1)) / (cuts + 1)))
    if (bytes.length > 0) session.receive(bytes, bytes.length)
  }
  await turn()
  close()
  assert.deepEqual(bugs, [])
}

/** A request with arguments of the right types. */
function exampleOf({ code, args }: FrameSpec, id: number): Buffer {
  const values = args.map(([name, kind]) => ARGUMENTS[name] ?? VALUES[kind])
  return frame(code, id + 1, ...values)
}

/** Something of each kind that an argument may have; `bytes` and `raw` are given as they stand. */
const VALUES: Readonly<Record<ArgKind, unknown>> = {
  text: 'fuzz:1',
  texts: ['fuzz:1'],
  uint: 1,
  uints: [1],
  maybe: null,
  number: 1.5,
  time: Date.now() + 60_000,
  ttl: 1_000,
  entries: [['fuzz:1', 'value']],
  any: 'value',
  raw: 'value',
  bytes: Buffer.from([0xc4, 1, 7]),
  shape: Buffer.from([0xc4, 0]),
  count: null,
  values: [],
}

/** The lines that tell of a bug: the log writes to the descriptor itself. */
function bugsOfLog(t: Ending): string[] {
  const bugs: string[] = []
  const { writeSync } = fs
  fs.writeSync = ((fd: number, text: string, ...rest: never[]) => {
    if (fd === 2 && String(text).includes('met a bug')) bugs.push(String(text))
    return writeSync(fd, text as never, ...rest)
  }) as typeof writeSync
  syncBuiltinESMExports()
  t.after(async () => {
    fs.writeSync = writeSync
    syncBuiltinESMExports()
  })
  return bugs
}
