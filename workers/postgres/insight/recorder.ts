/** Recorder: what is noted of each statement as it is answered.
 *  Owns:   the figures by fingerprint, who is whose caller, what was slow.   Not here: texts for people (report.ts), plans
 *          (plans.ts).
 *  Thread: postgres worker; all databases of it share one.
 *  Holds:  (1) a text is normalised once, then its statement carries a mark: recording is a few additions.  (2) everything is
 *          bounded, whatever is asked.  (3) no parameter and no literal is kept but in a sample, which never leaves (sample.ts), and
 *          in the slow log where the configuration says so. */

import { monotonicMs, wallMs } from '../../../engine/clock.ts'
import { BodyReader } from '../../../engine/protocol/body.ts'
import type { Statement } from '../statement.ts'
import { Bursts } from './bursts.ts'
import { Callers } from './callers.ts'
import { Changes } from './changes.ts'
import { fingerprintOf } from './fingerprint.ts'
import {
  SAMPLE_AGE_MS,
  SAMPLE_MS_MIN,
  SAMPLE_PARAMS_BYTES_MAX,
  SAMPLE_SQL_CHARS_MAX,
  SAMPLES_BYTES_MAX,
  sampleBytes,
} from './sample.ts'
import { BUCKET_COUNT, bucketOf, CALLERS_OF_ONE, Slots } from './slots.ts'
import { SlowLog } from './slow_log.ts'

/** How often figures are written to the disk while anything happens. */
const SAVE_MS = 900_000

export interface RecorderOptions {
  readonly maxStatements: number
  /** From this on a statement is slow; Infinity: none is. */
  readonly slowThresholdMs: number
}

/** What a statement carries: where its figures are. */
export interface Mark {
  readonly recorder: Recorder
  readonly slot: number
  readonly generation: number
  /** Of the text as it came: literals are parameters, too. */
  readonly textHash: number
}

/** One call, as far as it must be known here. */
export interface Call {
  readonly statement: Statement
  readonly client: number
  /** msgpack: params[paramsStart, paramsEnd). */
  readonly params: Buffer
  readonly paramsStart: number
  readonly paramsEnd: number
  /** When it was asked, on the monotonic clock. */
  readonly startedMs: number
  /** Rows that came, or that it changed; below 0: nobody knows. */
  rows: number
}

export class Recorder {
  readonly options: RecorderOptions
  readonly slots: Slots
  readonly callers = new Callers()
  readonly bursts: Bursts
  readonly changes: Changes
  readonly slow: SlowLog
  /** Calls since the figures were last written to the disk. */
  unsaved = 0
  private savedMs = monotonicMs()
  private samplesBytes = 0
  /** The wall clock is the other one and this. */
  private readonly wallOffsetMs = wallMs() - monotonicMs()
  private readonly reader = new BodyReader()

  constructor(options: RecorderOptions) {
    this.options = options
    this.slots = new Slots(options.maxStatements)
    this.bursts = new Bursts(
      slot => this.slots.generations[slot]!,
      client => this.callers.of(client),
      slot => this.slots.databases[slot]!,
    )
    this.changes = new Changes()
    this.slow = new SlowLog(client => this.callers.of(client))
    this.slots.onEvicted = slot => {
      this.dropSample(slot)
      this.changes.forget(slot)
    }
  }

  /** Gives a statement its mark; from now on its calls are counted. */
  see(statement: Statement, database: string): void {
    const { mark } = statement
    if (mark?.recorder === this && this.isCurrent(mark)) return
    const slot = this.slots.of(database, fingerprintOf(statement.sql), statement.isRead)
    const generation = this.slots.generations[slot]!
    statement.mark = { recorder: this, slot, generation, textHash: hashText(statement.sql) }
  }

  /** The body of ROWS that answers a call, valid only now; took() follows. */
  answered(call: Call, bytes: Buffer, start: number, end: number): void {
    call.rows = rowCountOf(this.reader, bytes, start, end)
    const { statement } = call
    const mark = statement.mark!
    if (!statement.isRead || !this.changes.isDue(mark.slot, call.startedMs)) return
    const paramsHash = hashBytes(mark.textHash, call.params, call.paramsStart, call.paramsEnd)
    this.changes.look(mark.slot, paramsHash, bytes, start, end, call.startedMs)
  }

  /** How long results of a marked statement last: see Changes. */
  lastedMs(mark: Mark): number {
    return this.isCurrent(mark) ? this.changes.lastedMs(mark.slot) : 0
  }

  /** A call took the server so long. */
  took(call: Call, ms: number): void {
    const { statement, client, rows } = call
    const mark = statement.mark!
    if (!this.isCurrent(mark)) return
    const { slot } = mark
    const { slots } = this
    slots.calls[slot]!++
    slots.totalMs[slot]! += ms
    slots.buckets[slot * BUCKET_COUNT + bucketOf(ms)]!++
    if (rows > 0) slots.rows[slot]! += rows
    if (ms > slots.maxMs[slot]!) slots.maxMs[slot] = ms
    slots.lastMs[slot] = call.startedMs + this.wallOffsetMs
    this.unsaved++
    this.countCaller(slot, client)
    const hash = hashBytes(mark.textHash, call.params, call.paramsStart, call.paramsEnd)
    this.changes.count(slot, hash)
    if (client !== 0) this.bursts.note(client, slot, hash, call.startedMs, rows)
    if (ms < SAMPLE_MS_MIN) return
    this.takeSample(slot, call)
    if (ms >= this.options.slowThresholdMs) this.slow.add(call, mark, ms, undefined)
  }

  /** The same of a call that had a connection to itself from `sentMs` on, with the body of its ROWS. */
  ranAlone(call: Call & { readonly sentMs: number }, body: Buffer | undefined): void {
    if (body !== undefined) this.answered(call, body, 0, body.length)
    this.took(call, monotonicMs() - call.sentMs)
  }

  /** A call failed. One that took long is slow all the same. */
  failed(call: Call, error: { code: string; sqlState?: string | undefined }, ms: number): void {
    const mark = call.statement.mark
    if (mark === undefined || !this.isCurrent(mark)) return
    const { slots } = this
    slots.errors[mark.slot]!++
    slots.lastMs[mark.slot] = wallMs()
    this.countCaller(mark.slot, call.client)
    this.unsaved++
    // What waited in vain for a connection did not run at all.
    const hasRun = error.code === 'TIMEOUT' || error.code === 'DATABASE'
    if (hasRun && ms >= this.options.slowThresholdMs)
      this.slow.add(call, mark, ms, error.sqlState ?? error.code)
  }

  clear(): void {
    this.slots.clear()
    this.bursts.clear()
    this.slow.clear()
    this.unsaved = 1
  }

  /** Whether figures are to be written now; a killed engine loses what came since. */
  isDueToSave(): boolean {
    return this.unsaved > 0 && monotonicMs() - this.savedMs >= SAVE_MS
  }

  saved(): void {
    this.unsaved = 0
    this.savedMs = monotonicMs()
  }

  isCurrent(mark: Mark): boolean {
    return this.slots.generations[mark.slot] === mark.generation
  }

  private countCaller(slot: number, client: number): void {
    const { callers, callerCalls } = this.slots
    const caller = this.callers.of(client)
    const at = slot * CALLERS_OF_ONE
    let place = CALLERS_OF_ONE - 1
    for (let i = 0; i < CALLERS_OF_ONE - 1; i++) {
      const known = callers[at + i]
      if (known === caller || callerCalls[at + i] === 0) {
        place = i
        break
      }
    }
    callers[at + place] = place === CALLERS_OF_ONE - 1 ? 0 : caller
    callerCalls[at + place]!++
  }

  private takeSample(slot: number, call: Call): void {
    const { statement, params, paramsStart, paramsEnd, startedMs } = call
    const { samples } = this.slots
    const known = samples[slot]
    if (known !== undefined && startedMs - known.takenMs < SAMPLE_AGE_MS) return
    const { sql } = statement
    const bytes = paramsEnd - paramsStart
    if (!mayRead(statement) || bytes > SAMPLE_PARAMS_BYTES_MAX || sql.length > SAMPLE_SQL_CHARS_MAX)
      return
    this.dropSample(slot)
    if (this.samplesBytes + sql.length + bytes > SAMPLES_BYTES_MAX) return
    const kept = Buffer.from(params.subarray(paramsStart, paramsEnd))
    const sample = { sql, params: kept, takenMs: monotonicMs() }
    this.samplesBytes += sampleBytes(sample)
    samples[slot] = sample
  }

  private dropSample(slot: number): void {
    const sample = this.slots.samples[slot]
    if (sample !== undefined) this.samplesBytes -= sampleBytes(sample)
    this.slots.samples[slot] = undefined
  }
}

/** Whether a plan may be asked for once the server has said that it only reads. */
export function mayRead({ isPreparable, word }: Statement): boolean {
  return isPreparable && /^(select|values|table|with)$/.test(word)
}

/** What the body of ROWS says of its rows: behind source, shape and command. By hand for what nearly all are: short names, a
 *  shape of up to 255 bytes, fewer than 128 rows. */
function rowCountOf(reader: BodyReader, bytes: Buffer, start: number, end: number): number {
  const shapeAt = start + 1 + (bytes[start]! & 0x1f)
  const commandAt = shapeAt + 2 + bytes[shapeAt + 1]!
  const countAt = commandAt + 1 + (bytes[commandAt]! & 0x1f)
  const isShort = isFixstr(bytes[start]!) && bytes[shapeAt] === BIN8 && isFixstr(bytes[commandAt]!)
  if (isShort && countAt < end && bytes[countAt]! < 0x80) return bytes[countAt]!
  reader.reset(bytes, start, end)
  reader.textRange()
  reader.binRange()
  reader.textRange()
  return reader.maybeUint()
}

const BIN8 = 0xc4

function isFixstr(head: number): boolean {
  return (head & 0xe0) === 0xa0
}

/** Longer parameters are told apart by their ends and lengths. */
const HASHED_BYTES_MAX = 48

/** FNV-1a, 32 bits. */
export function hashBytes(seed: number, bytes: Buffer, start: number, end: number): number {
  let hash = seed ^ (end - start)
  const half = HASHED_BYTES_MAX >> 1
  const isWhole = end - start <= HASHED_BYTES_MAX
  const firstEnd = isWhole ? end : start + half
  for (let i = start; i < firstEnd; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193)
  if (!isWhole)
    for (let i = end - half; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193)
  return hash
}

function hashText(text: string): number {
  let hash = 0x811c9dc5
  const end = Math.min(text.length, SAMPLE_SQL_CHARS_MAX)
  for (let i = 0; i < end; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash ^ text.length
}
