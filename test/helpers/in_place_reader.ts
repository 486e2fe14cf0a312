/** in_place_reader: a process that reads tier 1 in place as fast as it can, while others change it, and checks every value.
 *  Owns:   its connection, its counts.   Thread: main of a child process of a test.
 *  Holds:  what it reads is checked to the last byte, and must not be older than the last change of its key that had been
 *          acknowledged, or had expired, before the read began. */

import { connect, type Hearth } from '../../engine/client/index.ts'
import { mapFileReadOnly } from '../../native-bindings/index.ts'
import { Random } from './random.ts'
import { errorIn, keyOf, objectOfVersion } from './segment_reader.ts'

/** Words of the file that the test and its readers share: 0 is 1 when they are to stop; 1 + key: its oldest version allowed. */
export const STOP_WORD = 0
export const FLOORS_WORD = 1

export interface InPlaceOptions {
  readonly socket: string
  readonly floorsFile: string
  readonly keyCount: number
  readonly seed: number
}

export interface InPlaceReport {
  peeks: number
  peekHits: number
  gets: number
  getHits: number
  readonly errors: string[]
}

type VersionObject = ReturnType<typeof objectOfVersion>
type Value = Buffer | VersionObject

/** Reads in bursts, each without a turn of the event loop, as a busy service does. */
const BURST = 2_000
const GETS_PER_BURST = 40

async function main(options: InPlaceOptions): Promise<InPlaceReport> {
  const words = new Int32Array(mapFileReadOnly(options.floorsFile))
  const client = await connect({ socket: options.socket, failOpen: false })
  if (!client.inPlace.isOn) throw new Error(client.inPlace.reason)
  process.send!('ready')
  const report: InPlaceReport = { peeks: 0, peekHits: 0, gets: 0, getHits: 0, errors: [] }
  const reader = new Reader(client, words, options, report)
  while (Atomics.load(words, STOP_WORD) === 0 && report.errors.length < 5) {
    for (let i = 0; i < BURST; i++) reader.peek()
    await Promise.all(Array.from({ length: GETS_PER_BURST }, () => reader.get()))
  }
  await client.close()
  return report
}

class Reader {
  private readonly client: Hearth
  private readonly words: Int32Array
  private readonly report: InPlaceReport
  private readonly random: Random
  private readonly keys: string[]

  constructor(client: Hearth, words: Int32Array, options: InPlaceOptions, report: InPlaceReport) {
    this.client = client
    this.words = words
    this.report = report
    this.random = new Random(options.seed)
    this.keys = Array.from({ length: options.keyCount }, (_, key) => keyOf(key).toString())
  }

  peek(): void {
    const key = this.random.below(this.keys.length)
    const floor = Atomics.load(this.words, FLOORS_WORD + key)
    const value = this.client.cache.peek<Value>(this.keys[key]!)
    this.report.peeks++
    if (value === undefined) return
    this.report.peekHits++
    this.check(value, key, floor, 'peek')
  }

  /** In place if it can be, else over the socket, where tier 1 and 2 answer: the same rule holds. */
  async get(): Promise<void> {
    const key = this.random.below(this.keys.length)
    const floor = Atomics.load(this.words, FLOORS_WORD + key)
    const value = await this.client.cache.get<Value>(this.keys[key]!)
    this.report.gets++
    if (value === undefined) return
    this.report.getHits++
    this.check(value, key, floor, 'get')
  }

  private check(value: Value, key: number, floor: number, how: string): void {
    const error =
      value instanceof Uint8Array
        ? errorIn(Buffer.from(value), key, floor)
        : errorInObject(value, key, floor)
    if (error !== undefined) this.report.errors.push(`${how}: ${error}`)
  }
}

function errorInObject(value: VersionObject, key: number, floor: number): string | undefined {
  const { version } = value
  if (typeof version !== 'number' || version < floor)
    return `key ${key}: version ${version} was over, ${floor} is the oldest allowed`
  const expected = objectOfVersion(key, version)
  for (const name in expected) {
    if (value[name] !== expected[name]) return `key ${key}: version ${version} has another ${name}`
  }
  // It is this reader's own: what is done to it must not be seen by the next.
  value['version'] = -1
  return undefined
}

if (process.send !== undefined && process.argv[2] !== undefined) {
  main(JSON.parse(process.argv[2]) as InPlaceOptions).then(
    report => process.send!(report, () => process.exit(0)),
    error => {
      console.error(error)
      process.exit(1)
    },
  )
}
