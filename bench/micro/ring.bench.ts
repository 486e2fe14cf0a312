/** ring: round trips to a worker and back, over two rings and over postMessage, at several depths.
 *  Owns:   one worker a trial.   Thread: main of a trial's process; the worker beside it.
 *  Holds:  both rivals carry the same bytes, and both batch as they can: the ring publishes once a turn. */

import { Worker } from 'node:worker_threads'
import { createRingMemory } from '../../engine/ring/layout.ts'
import { RingReader } from '../../engine/ring/reader.ts'
import { RingWriter } from '../../engine/ring/writer.ts'
import { type MicroBench, measure, type Row, type Size, type Trial } from '../harness.ts'

const DEPTHS = [1, 10, 50, 200, 1_000] as const
/** Depths at which the ratio is held: rings are for many in flight. */
const GATE_DEPTHS = [200] as const
const RATIO_MIN = 1.3
const BODY_BYTES = 100
const ROUND_TRIPS = { smoke: 500, real: 20_000 } as const
const ECHO = new URL('./echo_worker.ts', import.meta.url)

type Round = (count: number, depth: number) => Promise<number>

export const bench: MicroBench = {
  title: `round trips of ${BODY_BYTES} bytes to a worker and back, by messages in flight`,
  isNot:
    'Not a request: no socket, no parsing, a worker that does nothing. At depth 1 both wait for the operating system to wake a thread, so that is what is measured there.',
  trials: DEPTHS.flatMap(depth => [
    trial(`ring, ${depth}`, depth, ringRound),
    trial(`postMessage, ${depth}`, depth, postMessageRound),
  ]),
  gates: rows =>
    GATE_DEPTHS.map(depth => ({
      name: `ring against postMessage, ${depth} in flight`,
      actual: perSecond(rows, `ring, ${depth}`) / perSecond(rows, `postMessage, ${depth}`),
      atLeast: RATIO_MIN,
    })),
}

function perSecond(rows: ReadonlyMap<string, Row>, name: string): number {
  return rows.get(name)!.figures['thousand/s']!
}

function trial(name: string, depth: number, begin: () => Promise<Round>): Trial {
  const run = async (size: Size): Promise<Row> => {
    const round = await begin()
    // At depth 1 a round trip takes fifty times as long.
    const count = depth === 1 ? ROUND_TRIPS[size] / 10 : ROUND_TRIPS[size]
    return measure(size, count, () => round(count, depth))
  }
  return { name, run }
}

async function ringRound(): Promise<Round> {
  const requests = createRingMemory()
  const replies = createRingMemory()
  new Worker(ECHO, { workerData: { requests, replies } }).unref()
  const writer = new RingWriter(requests)
  const reader = new RingReader(replies)
  let turn = (): void => {}
  const woken = (): void => turn()
  const body = Buffer.alloc(BODY_BYTES, 7)
  // Keeps the process alive while main sleeps.
  setInterval(() => {}, 1_000)
  return (count, depth) =>
    new Promise(resolve => {
      let sent = 0
      let received = 0
      let hash = 0
      const send = (): void => {
        while (sent < count && sent - received < depth && writer.push(1, sent, body, 0, BODY_BYTES))
          sent++
        writer.publish()
      }
      turn = () => {
        while (reader.next()) {
          hash = (hash * 31 + reader.ticket + reader.bytes[reader.start]!) | 0
          received++
        }
        reader.release()
        if (received === count) return resolve(hash)
        send()
        if (!reader.whenReadable(woken)) setImmediate(turn)
      }
      turn()
    })
}

async function postMessageRound(): Promise<Round> {
  const worker = new Worker(ECHO, { workerData: {} })
  // The cheapest message that carries the bytes: cloning a Uint8Array takes half as long again.
  const body = String.fromCharCode(7).repeat(BODY_BYTES)
  return (count, depth) =>
    new Promise(resolve => {
      let sent = 0
      let received = 0
      let hash = 0
      const send = (): void => {
        while (sent < count && sent - received < depth) worker.postMessage([sent++, body])
      }
      const take = ([id, text]: [id: number, text: string]): void => {
        hash = (hash * 31 + id + text.charCodeAt(0)) | 0
        received++
        if (received < count) return send()
        worker.off('message', take)
        resolve(hash)
      }
      worker.on('message', take)
      send()
    })
}
