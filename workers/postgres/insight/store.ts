/** store: the figures by fingerprint in a file of the state folder, so that they outlive a restart.
 *  Owns:   the form of that file.   Thread: postgres worker.
 *  Holds:  (1) it is replaced as a whole: a reader finds the old one or the new one.  (2) at most FILE_CHARS_MAX, the dearest first.
 *          (3) it has no sample, no parameter and no slow log.  (4) a file that is damaged, or of another version, is as none. */

import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { log } from '../../../engine/log.ts'
import type { Recorder } from './recorder.ts'
import { BUCKET_COUNT, CALLERS_OF_ONE, OUTCOMES } from './slots.ts'

const VERSION = 1
const FILE_CHARS_MAX = 512 * 1024

interface Kept {
  readonly database: string
  readonly text: string
  readonly isRead: boolean
  readonly figures: readonly number[]
  /** Bucket and count, by turns. */
  readonly buckets: readonly number[]
  readonly callers: readonly (readonly [string, number])[]
  readonly outcomes: readonly number[]
  readonly results: readonly number[]
}

/** Never throws: figures are not worth a service. */
export function save(recorder: Recorder, file: string): void {
  const { slots } = recorder
  const parts: string[] = []
  let chars = 0
  const order = [...slots.values()].toSorted((a, b) => slots.totalMs[b]! - slots.totalMs[a]!)
  for (const slot of order) {
    const part = JSON.stringify(keptOf(recorder, slot))
    chars += part.length
    if (chars > FILE_CHARS_MAX) break
    parts.push(part)
  }
  try {
    const text = `{"version":${VERSION},"statements":[\n${parts.join(',\n')}\n]}\n`
    writeFileSync(`${file}.new`, text, { mode: 0o600 })
    renameSync(`${file}.new`, file)
    recorder.saved()
  } catch (error) {
    recorder.saved()
    log('warn', 'query insight could not be written', { file, error: (error as Error).message })
  }
}

export function load(recorder: Recorder, file: string): void {
  try {
    const { version, statements } = JSON.parse(readFileSync(file, 'utf8'))
    if (version !== VERSION || !Array.isArray(statements)) return
    // The dearest come first in the file, and last here: should there be no room for all, they stay.
    for (const kept of statements.slice(0, recorder.options.maxStatements).reverse())
      bringBack(recorder, kept as Kept)
  } catch (error) {
    log('warn', 'query insight of earlier runs could not be read', {
      file,
      error: (error as Error).message,
    })
  }
}

function keptOf({ slots, callers, changes }: Recorder, slot: number): Kept {
  const buckets: number[] = []
  for (let i = 0; i < BUCKET_COUNT; i++) {
    const count = slots.buckets[slot * BUCKET_COUNT + i]!
    if (count > 0) buckets.push(i, count)
  }
  const found: [string, number][] = []
  for (let i = 0; i < CALLERS_OF_ONE; i++) {
    const at = slot * CALLERS_OF_ONE + i
    if (slots.callerCalls[at]! > 0)
      found.push([callers.nameOf(slots.callers[at]!), slots.callerCalls[at]!])
  }
  const at = slot * OUTCOMES.length
  return {
    database: slots.databases[slot]!,
    text: slots.texts[slot]!,
    isRead: slots.isRead[slot]!,
    figures: columnsOf(slots).map(column => rounded(column[slot]!)),
    buckets,
    callers: found,
    outcomes: [...slots.outcomes.subarray(at, at + OUTCOMES.length)],
    results: [
      changes.looks[slot] ?? 0,
      changes.found[slot] ?? 0,
      rounded(changes.spanMs[slot] ?? 0),
    ],
  }
}

function bringBack({ slots, callers, changes }: Recorder, kept: Kept): void {
  const slot = slots.of(kept.database, kept.text, kept.isRead)
  for (const [i, column] of columnsOf(slots).entries()) column[slot] = kept.figures[i]!
  for (let i = 0; i < kept.buckets.length; i += 2)
    slots.buckets[slot * BUCKET_COUNT + kept.buckets[i]!] = kept.buckets[i + 1]!
  for (const [i, [name, calls]] of kept.callers.slice(0, CALLERS_OF_ONE).entries()) {
    slots.callers[slot * CALLERS_OF_ONE + i] = callers.idOf(name)
    slots.callerCalls[slot * CALLERS_OF_ONE + i] = calls
  }
  slots.outcomes.set(kept.outcomes, slot * OUTCOMES.length)
  changes.restore(slot, kept.results)
}

function columnsOf({ calls, errors, totalMs, maxMs, rows, firstMs, lastMs }: Recorder['slots']) {
  return [calls, errors, totalMs, maxMs, rows, firstMs, lastMs]
}

function rounded(value: number): number {
  return Math.round(value * 1_000) / 1_000
}
