/** codec: frames written and read by the table's codec, against msgpackr for the whole message.
 *  Owns:   one buffer a trial.   Thread: main of a trial's process.
 *  Holds:  both ways end with the same: key, id and where the value is. */

import { BodyReader, textBytesMax, writeText } from '../../engine/protocol/body.ts'
import { HEADER_BYTES, opOf, readId, readWord, writeHeader } from '../../engine/protocol/header.ts'
import { decodeValue, encodeValue } from '../../engine/protocol/payload.ts'
import { OPS } from '../../engine/protocol/spec.ts'
import { type MicroBench, measure, type Size, type Trial } from '../harness.ts'

const FRAMES = { smoke: 500, real: 20_000 } as const
const KEYS = Array.from({ length: 64 }, (_, i) => `device:${1_000 + i}:state`)
const VALUE = {
  on: true,
  level: 0.75,
  at: 1_700_000_000_000,
  name: 'kitchen light',
  tags: ['a', 'b'],
}

export const bench: MicroBench = {
  title: 'one GET frame written and read, and one value encoded and decoded',
  isNot:
    'Not the cost of a request: sockets cost more than codecs. msgpackr does the values in Hearth too; only the frames around them are its rival here.',
  trials: [
    frames('GET frame, written', writeFrames),
    frames('GET frame, written: msgpackr', () => {
      let bytes = 0
      return (i: number) =>
        (bytes = (bytes + encodeValue([OPS.GET.code, i, KEYS[i & 63]]).length) | 0)
    }),
    frames('GET frame, read', readFrames),
    frames('GET frame, read: msgpackr', () => {
      const frame = encodeValue([OPS.GET.code, 77, KEYS[7]])
      return () => (decodeValue(frame) as [number, number, string])[1]
    }),
    frames('a value, encoded', () => () => encodeValue(VALUE).length),
    frames('a value, decoded', () => {
      const bytes = encodeValue(VALUE)
      return () => (decodeValue(bytes) as typeof VALUE).name.length
    }),
  ],
}

function frames(name: string, begin: () => (i: number) => number): Trial {
  const run = (size: Size) => {
    let hash = 0
    const step = begin()
    const hashed = (): number => {
      hash = 0
      for (let i = 0; i < FRAMES[size]; i++) hash = (hash * 31 + step(i)) | 0
      return hash
    }
    return measure(size, FRAMES[size], hashed)
  }
  return { name, run }
}

function writeFrames(): (i: number) => number {
  const target = Buffer.alloc(1_024)
  return i => {
    const key = KEYS[i & 63]!
    if (HEADER_BYTES + textBytesMax(key) > target.length) throw new Error('no room')
    const end = writeText(target, HEADER_BYTES, key)
    writeHeader(target, 0, OPS.GET.code, i, end - HEADER_BYTES)
    return end
  }
}

/** As the engine reads it: the key is looked up as bytes, and never becomes a string. */
function readFrames(): (i: number) => number {
  const frame = Buffer.alloc(256)
  const end = writeText(frame, HEADER_BYTES, KEYS[7]!)
  writeHeader(frame, 0, OPS.GET.code, 77, end - HEADER_BYTES)
  const reader = new BodyReader()
  return () => {
    if (opOf(readWord(frame, 0)) !== OPS.GET.code) return 0
    reader.reset(frame, HEADER_BYTES, end)
    reader.textRange()
    reader.done()
    return readId(frame, 0)
  }
}
