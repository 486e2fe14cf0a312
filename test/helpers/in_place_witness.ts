/** in_place_witness: a process that peeks at one key over and over without ever letting its event loop turn, so that no event of its
 *  socket can help it to notice that the engine is gone.
 *  Owns:   its connection.   Thread: main of a child process of a test.
 *  Holds:  it reports each value that it saw once and in order, and whether one was older than the floor allows. */

import { connect } from '../../engine/client/index.ts'
import { mapFileReadOnly } from '../../native-bindings/index.ts'

export interface WitnessReport {
  readonly peeks: number
  /** -1: nothing. */
  readonly seen: number[]
  readonly errors: string[]
}

/** Of the file that the test shares with the witness: 0 is 1 when it is to stop; 1: the least value that is allowed. */
export const WITNESS = { stop: 0, floor: 1 } as const

async function main(socket: string, file: string): Promise<void> {
  const words = new Int32Array(mapFileReadOnly(file))
  const client = await connect({ socket })
  const seen = [client.cache.peek<number>('n') ?? -1]
  const errors: string[] = []
  let peeks = 0
  await new Promise<void>(resolve => process.send!('ready', () => resolve()))
  while (Atomics.load(words, WITNESS.stop) === 0) {
    const floor = Atomics.load(words, WITNESS.floor)
    const value = client.cache.peek<number>('n') ?? -1
    peeks++
    if (value >= 0 && value < floor && errors.length < 5)
      errors.push(`saw ${value} after ${floor} had been acknowledged`)
    if (value !== seen.at(-1)) seen.push(value)
  }
  process.send!({ peeks, seen, errors } satisfies WitnessReport, () => process.exit(0))
}

if (process.send !== undefined && process.argv[3] !== undefined)
  void main(process.argv[2]!, process.argv[3])
