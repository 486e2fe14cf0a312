/** report: the recorder's figures as plain data, for whoever asks.
 *  Owns:   nothing: pure functions.   Thread: postgres worker.   Holds: a percentile lies within its half octave. */

import { SKETCH_BITS } from './changes.ts'
import type { Recorder } from './recorder.ts'
import { BUCKET_COUNT, bucketEndMs, CALLERS_OF_ONE, OUTCOMES, type Slots } from './slots.ts'

/** All fingerprints, those that took the server longest first. */
export function statements(recorder: Recorder) {
  const { slots, changes } = recorder
  return [...slots.values()]
    .toSorted((a, b) => slots.totalMs[b]! - slots.totalMs[a]!)
    .map(slot => {
      const calls = slots.calls[slot]!
      return {
        database: slots.databases[slot],
        fingerprint: slots.names[slot],
        text: slots.texts[slot],
        isRead: slots.isRead[slot],
        calls,
        errors: slots.errors[slot]!,
        rows: slots.rows[slot]!,
        totalMs: slots.totalMs[slot]!,
        meanMs: calls === 0 ? 0 : slots.totalMs[slot]! / calls,
        maxMs: slots.maxMs[slot]!,
        p50Ms: percentile(slots, slot, 0.5),
        p95Ms: percentile(slots, slot, 0.95),
        p99Ms: percentile(slots, slot, 0.99),
        firstAtMs: slots.firstMs[slot]!,
        lastAtMs: slots.lastMs[slot]!,
        callers: callersOf(recorder, slot),
        cache: outcomesOf(slots, slot),
        results: {
          looks: changes.looks[slot] ?? 0,
          changes: changes.found[slot] ?? 0,
          spanMs: changes.spanMs[slot] ?? 0,
          calls: changes.sketched[slot] ?? 0,
          parameters: distinct(changes.bitsSet[slot] ?? 0),
        },
      }
    })
}

/** The slow log, newest first. */
export function slowStatements(recorder: Recorder) {
  const { slots, callers, slow } = recorder
  return slow.entries
    .filter(({ slot, generation }) => slots.generations[slot] === generation)
    .map(({ slot, atMs, tookMs, rows, caller, failure, params }) => ({
      database: slots.databases[slot],
      fingerprint: slots.names[slot],
      text: slots.texts[slot],
      atMs,
      tookMs,
      rows: rows < 0 ? null : rows,
      caller: callers.nameOf(caller),
      params,
      failure: failure ?? null,
    }))
    .toReversed()
}

/** Bursts (N+1), those of the most calls first. */
export function bursts(recorder: Recorder) {
  const { slots, callers } = recorder
  return [...recorder.bursts.found.values()]
    .filter(({ slot, generation }) => slots.generations[slot] === generation)
    .toSorted((a, b) => b.longest - a.longest)
    .map(({ slot, caller, times, longest, parent, parentGeneration, parentRows }) => {
      const hasParent = parent >= 0 && slots.generations[parent] === parentGeneration
      return {
        database: slots.databases[slot],
        fingerprint: slots.names[slot],
        text: slots.texts[slot],
        caller: callers.nameOf(caller),
        times,
        longest,
        meanMs: slots.totalMs[slot]! / Math.max(1, slots.calls[slot]!),
        parent: hasParent
          ? { fingerprint: slots.names[parent], text: slots.texts[parent], rows: parentRows }
          : null,
      }
    })
}

function callersOf({ slots, callers }: Recorder, slot: number) {
  const found: { name: string; calls: number }[] = []
  for (let i = 0; i < CALLERS_OF_ONE; i++) {
    const calls = slots.callerCalls[slot * CALLERS_OF_ONE + i]!
    const name = callers.nameOf(slots.callers[slot * CALLERS_OF_ONE + i]!)
    if (calls === 0) continue
    const known = found.find(each => each.name === name)
    if (known === undefined) found.push({ name, calls })
    else known.calls += calls
  }
  return found.toSorted((a, b) => b.calls - a.calls)
}

function outcomesOf(slots: Slots, slot: number): Record<(typeof OUTCOMES)[number], number> {
  const at = slot * OUTCOMES.length
  return Object.fromEntries(OUTCOMES.map((name, i) => [name, slots.outcomes[at + i]!])) as Record<
    (typeof OUTCOMES)[number],
    number
  >
}

/** Taken evenly within the bucket; never above the longest. */
function percentile(slots: Slots, slot: number, rank: number): number {
  const at = slot * BUCKET_COUNT
  const wanted = slots.calls[slot]! * rank
  let seen = 0
  for (let bucket = 0; bucket < BUCKET_COUNT; bucket++) {
    const count = slots.buckets[at + bucket]!
    if (count === 0 || seen + count < wanted) {
      seen += count
      continue
    }
    const startMs = bucket === 0 ? 0 : bucketEndMs(bucket - 1)
    const ms = startMs + (bucketEndMs(bucket) - startMs) * ((wanted - seen) / count)
    return Math.min(Number(ms.toPrecision(3)), slots.maxMs[slot]!)
  }
  return 0
}

/** How many kinds of parameters there were, by linear counting. */
function distinct(bitsSet: number): number {
  return Math.round(-SKETCH_BITS * Math.log(1 - bitsSet / SKETCH_BITS))
}
