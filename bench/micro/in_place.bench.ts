/** in_place: hits of tier 1 in the client's own process, against the same hits over the socket.
 *  Owns:   the engine of each trial, a process of its own.   Thread: main of a trial's process, the client.
 *  Holds:  every get is a hit of tier 1 and is decoded; the hash is of what was read. */

import type { Hearth } from '../../engine/client/index.ts'
import { type Gate, type MicroBench, measure, type Row, type Size, type Trial } from '../harness.ts'
import { peeksPerSecond } from '../macro/in_place.ts'
import { Stand, VALUE } from '../macro/stand.ts'

const KEYS = Array.from({ length: 1_000 }, (_, i) => `device:${i}`)
const OPERATIONS: Record<Size, number> = { smoke: 1_000, real: 50_000 }
const SOCKET_OPERATIONS: Record<Size, number> = { smoke: 100, real: 2_000 }
const READ_MS: Record<Size, number> = { smoke: 20, real: 1_000 }

type Value = typeof VALUE

const PEEK = 'peek'
const GET = 'get, awaited'
const SOCKET = 'get over the socket, awaited'
const ONE = 'peek, one process'
const TWO = 'peek, two processes at once'

export const bench: MicroBench = {
  title: `hits of tier 1 in place, an object of six fields, ${KEYS.length} keys`,
  isNot:
    'Not misses, which go over the socket. Two processes need two free cores: on a busy machine the last row is that of the machine.',
  trials: [
    trial(PEEK, true, OPERATIONS, async (client, count) => {
      let hash = 0
      for (let i = 0; i < count; i++) hash = (hash + client.cache.peek<Value>(keyOf(i))!.id) | 0
      return hash
    }),
    trial(GET, true, OPERATIONS, gets),
    trial(SOCKET, false, SOCKET_OPERATIONS, gets),
    processes(ONE, 1),
    processes(TWO, 2),
  ],
  gates,
}

function gates(rows: ReadonlyMap<string, Row>): Gate[] {
  const figure = (name: string): number => rows.get(name)!.figures['thousand/s']!
  return [
    {
      name: 'a peek is so many times as fast as a get over the socket',
      actual: figure(PEEK) / figure(SOCKET),
      atLeast: 40,
    },
    {
      name: 'an awaited get in place is so many times as fast as one over the socket',
      actual: figure(GET) / figure(SOCKET),
      atLeast: 30,
    },
    {
      name: 'two reader processes read so many times as much as one',
      actual: figure(TWO) / figure(ONE),
      atLeast: 1.7,
    },
  ]
}

async function gets(client: Hearth, count: number): Promise<number> {
  let hash = 0
  for (let i = 0; i < count; i++) hash = (hash + (await client.cache.get<Value>(keyOf(i)))!.id) | 0
  return hash
}

function trial(
  name: string,
  sharedMemory: boolean,
  operations: Record<Size, number>,
  round: (client: Hearth, count: number) => Promise<number>,
): Trial {
  const run = (size: Size): Promise<Row> =>
    withEngine(async stand => {
      const client = await stand.client({ sharedMemory })
      if (client.inPlace.isOn !== sharedMemory) throw new Error(client.inPlace.reason)
      return measure(size, operations[size], () => round(client, operations[size]))
    })
  return { name, run }
}

function processes(name: string, count: number): Trial {
  const run = (size: Size): Promise<Row> =>
    withEngine(async stand => {
      const perSecond = await peeksPerSecond(stand.socket, KEYS, count, READ_MS[size])
      return { figures: { 'thousand/s': perSecond / 1_000 }, hash: count }
    })
  return { name, run }
}

async function withEngine(use: (stand: Stand) => Promise<Row>): Promise<Row> {
  const stand = new Stand()
  await stand.start()
  try {
    const client = await stand.client()
    await Promise.all(KEYS.map(key => client.cache.set(key, VALUE)))
    return await use(stand)
  } finally {
    await stand.stop()
  }
}

function keyOf(index: number): string {
  return KEYS[(index * 7_919) % KEYS.length]!
}
