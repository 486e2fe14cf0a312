/** fuzz: feeds a target with inputs that are mutated from those that reached new code, as V8's own coverage tells.
 *  Owns:   the corpus of one run, and the inspector session that counts blocks.   Not here: what is wrong (each target throws).
 *  Thread: main of a test process.
 *  Holds:  (1) the same seed and seeds give the same inputs, as long as the code takes the same ways.  (2) an input that fails is
 *          printed whole, to be added to the seeds, which are run first each time.
 *
 *  Counting goes on until the process ends: V8 counts blocks only in functions that it compiles while it does.
 *  Blocks are counted for a batch at a time, because asking takes a millisecond; a batch that reached something new is
 *  gone through again one by one. HEARTH_FUZZ_KEEP=1 writes what reached new code to test/seeds. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { Session } from 'node:inspector'
import { join } from 'node:path'
import type { Random } from './random.ts'

export interface Target {
  /** Names the file of its seeds. */
  readonly name: string
  /** Whose blocks count, by their urls. */
  readonly sources: RegExp
  /** To begin with, beside the seeds kept. */
  readonly examples: readonly Buffer[]
  /** Pieces that mean something to the target. */
  readonly words: readonly Buffer[]
  readonly inputBytesMax: number
  /** Throws, or rejects, when something is wrong. */
  run(input: Buffer): void | Promise<void>
}

export interface FuzzReport {
  inputs: number
  /** Blocks of the sources that were reached. */
  blocks: number
  /** Inputs that reached something first. */
  kept: number
}

const BATCH_COUNT = 40
const MUTATION_COUNT_MAX = 4
const INTERESTING = [0, 1, 2, 7, 8, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff, 0xff_ffff, 0x7fff_ffff]
const FOLDER = join(import.meta.dirname, '..', 'seeds')

/** Runs the seeds, then mutants for so long. Throws what the target throws, with the input. */
export async function fuzz(target: Target, random: Random, ms: number): Promise<FuzzReport> {
  const coverage = new Coverage(target.sources)
  const corpus: Buffer[] = []
  const report: FuzzReport = { inputs: 0, blocks: 0, kept: 0 }
  for (const input of [...target.examples, ...readSeeds(target.name)]) {
    await runOne(target, input)
    report.inputs++
    coverage.take()
    corpus.push(input)
  }
  const seedCount = corpus.length
  for (const endMs = performance.now() + ms; performance.now() < endMs; ) {
    const batch = Array.from({ length: BATCH_COUNT }, () => mutant(corpus, target, random))
    for (const input of batch) await runOne(target, input)
    report.inputs += batch.length
    if (!coverage.peek()) continue
    for (const input of batch) {
      await runOne(target, input)
      if (coverage.take()) corpus.push(input)
    }
  }
  report.kept = corpus.length - seedCount
  report.blocks = coverage.blocks.size
  if (process.env['HEARTH_FUZZ_KEEP'] === '1' && report.kept > 0)
    writeSeeds(target.name, corpus.slice(target.examples.length))
  return report
}

async function runOne(target: Target, input: Buffer): Promise<void> {
  try {
    await target.run(input)
  } catch (error) {
    const shown = input.toString('base64')
    throw new Error(`${target.name}: this input, in base64, fails: ${shown}`, { cause: error })
  }
}

let counting: Session | undefined

function count(): Session {
  if (counting !== undefined) return counting
  counting = new Session()
  counting.connect()
  counting.post('Profiler.enable')
  counting.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  return counting
}

class Coverage {
  readonly blocks = new Set<string>()
  private readonly session = count()
  private readonly sources: RegExp

  constructor(sources: RegExp) {
    this.sources = sources
  }

  /** Whether blocks ran since the last look that had never run before; they stay unknown. */
  peek(): boolean {
    return this.fresh().length > 0
  }

  /** The same; they are known from now on. */
  take(): boolean {
    const fresh = this.fresh()
    for (const block of fresh) this.blocks.add(block)
    return fresh.length > 0
  }

  private fresh(): string[] {
    const fresh: string[] = []
    this.session.post('Profiler.takePreciseCoverage', (error, { result }) => {
      if (error !== null) throw error
      for (const { url, functions } of result) {
        if (!this.sources.test(url)) continue
        for (const { ranges } of functions) {
          for (const { startOffset, endOffset, count } of ranges) {
            if (count === 0) continue
            const block = `${url}:${startOffset}:${endOffset}`
            if (!this.blocks.has(block)) fresh.push(block)
          }
        }
      }
    })
    return fresh
  }
}

function mutant(corpus: readonly Buffer[], target: Target, random: Random): Buffer {
  let bytes = corpus.length === 0 ? random.bytes(random.below(64)) : random.pick(corpus)
  for (let i = random.between(1, MUTATION_COUNT_MAX); i > 0; i--)
    bytes = MUTATIONS[random.below(MUTATIONS.length)]!(bytes, random, corpus, target)
  return bytes.subarray(0, target.inputBytesMax)
}

type Mutation = (bytes: Buffer, random: Random, corpus: readonly Buffer[], target: Target) => Buffer

const MUTATIONS: readonly Mutation[] = [
  (bytes, random) =>
    changed(bytes, random, copy => [random.below(copy.length), 1 + random.below(255)]),
  (bytes, random) => {
    const copy = Buffer.from(bytes)
    if (copy.length > 0) copy[random.below(copy.length)]! ^= 1 << random.below(8)
    return copy
  },
  (bytes, random) => {
    const copy = Buffer.from(bytes)
    const size = random.pick([1, 2, 3, 4])
    if (copy.length < size) return copy
    const value = random.pick(INTERESTING) % 2 ** (8 * size)
    const at = random.below(copy.length - size + 1)
    if (random.chance(0.5)) copy.writeUIntLE(value, at, size)
    else copy.writeUIntBE(value, at, size)
    return copy
  },
  (bytes, random) => {
    const [from, to] = rangeOf(bytes, random)
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)])
  },
  (bytes, random) => {
    const [from, to] = rangeOf(bytes, random)
    return inserted(bytes, random, bytes.subarray(from, to))
  },
  (bytes, random, corpus) => {
    const other = corpus.length === 0 ? bytes : random.pick(corpus)
    const [from, to] = rangeOf(other, random)
    return inserted(bytes, random, other.subarray(from, to))
  },
  (bytes, random, _corpus, { words }) =>
    words.length === 0 ? bytes : inserted(bytes, random, random.pick(words)),
  (bytes, random, _corpus, { words }) => {
    if (words.length === 0) return bytes
    const word = random.pick(words)
    const at = random.below(bytes.length + 1)
    return Buffer.concat([bytes.subarray(0, at), word, bytes.subarray(at + word.length)])
  },
  (bytes, random) => inserted(bytes, random, random.bytes(random.between(1, 16))),
]

function changed(
  bytes: Buffer,
  random: Random,
  what: (copy: Buffer) => [at: number, add: number],
): Buffer {
  const copy = Buffer.from(bytes)
  if (copy.length === 0) return random.bytes(1)
  const [at, add] = what(copy)
  copy[at] = copy[at]! + add
  return copy
}

function inserted(bytes: Buffer, random: Random, piece: Buffer): Buffer {
  const at = random.below(bytes.length + 1)
  return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at)])
}

function rangeOf(bytes: Buffer, random: Random): [from: number, to: number] {
  const from = random.below(bytes.length + 1)
  return [from, from + random.below(Math.min(bytes.length - from, 64) + 1)]
}

/** One input a line, in base64. */
function readSeeds(name: string): Buffer[] {
  const file = join(FOLDER, `${name}.txt`)
  if (!existsSync(file)) return []
  const lines = readFileSync(file, 'latin1').split('\n')
  return lines.filter(line => line !== '').map(line => Buffer.from(line, 'base64'))
}

function writeSeeds(name: string, inputs: readonly Buffer[]): void {
  const lines = [...new Set(inputs.map(input => input.toString('base64')))]
  writeFileSync(join(FOLDER, `${name}.txt`), `${lines.join('\n')}\n`)
}
