/** socket: gets and sets through the Unix socket, against an engine as a process of its own.
 *  Owns:   the engine of each trial.   Thread: main of a trial's process, the client.
 *  Holds:  every get is a hit of tier 1 and is decoded; the hash is of what was read. */

import type { Hearth } from '../../engine/client/index.ts'
import { type MicroBench, measure, type Row, type Size, type Trial } from '../harness.ts'
import { Stand, VALUE } from '../macro/stand.ts'

const KEYS = 1_000
const OPERATIONS: Record<Size, number> = { smoke: 100, real: 5_000 }

export const bench: MicroBench = {
  title: 'requests through the socket, one client process',
  isNot:
    'Not a comparison: rivals are in macro/peers.ts. Not many clients: one loop feeds the socket.',
  trials: [get(1), get(50), get(500), set(500)],
}

function get(depth: number): Trial {
  return trial(`get, ${depth} in flight`, depth, async (client, index) => {
    const value = (await client.cache.get(key(index))) as typeof VALUE
    return value.id
  })
}

function set(depth: number): Trial {
  return trial(`durable set, ${depth} in flight`, depth, async (client, index) =>
    Number(await client.cache.set(key(index), VALUE)),
  )
}

function trial(
  name: string,
  depth: number,
  operation: (client: Hearth, index: number) => Promise<number>,
): Trial {
  const run = async (size: Size): Promise<Row> => {
    const stand = new Stand()
    await stand.start()
    try {
      const client = await stand.client({ sharedMemory: false })
      await Promise.all(Array.from({ length: KEYS }, (_, i) => client.cache.set(key(i), VALUE)))
      return await measure(size, OPERATIONS[size], () => round(OPERATIONS[size], depth, client))
    } finally {
      await stand.stop()
    }
  }
  const round = async (count: number, lanes: number, client: Hearth): Promise<number> => {
    let next = 0
    let hash = 0
    const lane = async () => {
      while (next < count) {
        const found = await operation(client, next++)
        hash = (hash + found) | 0
      }
    }
    await Promise.all(Array.from({ length: lanes }, lane))
    return hash
  }
  return { name, run }
}

function key(index: number): string {
  return `device:${index % KEYS}`
}
