/** Limits: the log of a sliding window against a model that keeps every event, and the table of logs against its bounds.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Runs:   beside others. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { LimitTable } from '../engine/guard/limit_table.ts'
import { RateLimits } from '../engine/guard/rate_limit.ts'
import { RUNS_AT_FIRST, RUNS_OF_ONE_MAX, SlidingLog } from '../engine/guard/sliding_log.ts'
import { Random, randomTest, runs, SEED } from './helpers/random.ts'

const always = (): boolean => true
const never = (): boolean => false
const UNLIMITED = { perClient: undefined, global: undefined, cachePerClient: undefined }

/** Every event, for ever: what a sliding window is by its definition. */
class Model {
  private readonly untilMs: number[] = []
  private readonly windowMs: number

  constructor(windowMs: number) {
    this.windowMs = windowMs
  }

  used(nowMs: number): number {
    return this.untilMs.filter(until => until > nowMs).length
  }

  waitMs(nowMs: number, max: number): number {
    const left = this.untilMs.filter(until => until > nowMs).toSorted((a, b) => a - b)
    if (left.length < max) return 0
    return Math.max(1, Math.ceil(left[left.length - max]! - nowMs))
  }

  add(nowMs: number): void {
    this.untilMs.push(nowMs + this.windowMs)
  }
}

/** How long after the one before: often nothing, often just the window, or what is left of it. */
const step = fc.oneof(
  fc.constantFrom('same', 'window', 'edge', 'before the edge'),
  fc.integer({ min: 0, max: 400 }),
  fc.double({ min: 0, max: 300, noNaN: true }),
)

describe('a log', () => {
  test(`answers as the model does, at the edge of its window too (SEED=${SEED})`, () => {
    const asked = fc.record({
      windowMs: fc.constantFrom(1, 7, 100, 250.5, 1_000),
      max: fc.integer({ min: 1, max: 40 }),
      steps: fc.array(step, { maxLength: 200 }),
      newMax: fc.integer({ min: 1, max: 40 }),
    })
    const check = fc.property(asked, ({ windowMs, max, steps, newMax }) => {
      const log = new SlidingLog(windowMs)
      const model = new Model(windowMs)
      let nowMs = 12_345.678
      for (const [i, each] of steps.entries()) {
        const limit = i < steps.length / 2 ? max : newMax
        if (each === 'window') nowMs += windowMs
        else if (each === 'edge') nowMs += log.waitMs(nowMs, limit)
        else if (each === 'before the edge') nowMs += Math.max(0, log.waitMs(nowMs, limit) - 1)
        else if (each !== 'same') nowMs += each
        const waitMs = log.waitMs(nowMs, limit)
        assert.equal(waitMs, model.waitMs(nowMs, limit), `step ${i} at ${nowMs}`)
        assert.equal(log.used, model.used(nowMs))
        if (waitMs > 0) continue
        log.add(nowMs, limit, always)
        if (i % 5 === 0) log.takeBack()
        else model.add(nowMs)
      }
    })
    fc.assert(check, runs(300, 5_000))
  })

  for (const why of ['its limit is above what it keeps one by one', 'it may not grow'] as const) {
    randomTest(`never has more than its limit, and loses little, when ${why}`, {}, random => {
      const isRefused = why === 'it may not grow'
      const max = isRefused ? 60 : RUNS_OF_ONE_MAX * 2
      const windowMs = 10_000
      const log = new SlidingLog(windowMs)
      const model = new Model(windowMs)
      const grow = isRefused ? never : always
      const times: number[] = []
      let nowMs = 0
      let allowed = 0
      const stepMs = (2 * windowMs) / (max * 3)
      for (let i = 0; i < max * 6; i++) {
        nowMs += random.below(1_000) * (stepMs / 500)
        if (log.waitMs(nowMs, max) > 0) continue
        log.add(nowMs, max, grow)
        times.push(nowMs)
        allowed++
        if (isRefused) {
          model.add(nowMs)
          assert.ok(model.used(nowMs) <= max)
        }
      }
      let first = 0
      for (const [i, each] of times.entries()) {
        while (times[first]! <= each - windowMs) first++
        assert.ok(i - first + 1 <= max, `${i - first + 1} within a window`)
      }
      const rooms = isRefused ? RUNS_AT_FIRST : RUNS_OF_ONE_MAX
      assert.ok(log.roomCount <= rooms)
      // A grain late at each: of so many windows, the share that a grain is of a window.
      const could = (nowMs / windowMs) * max
      assert.ok(allowed >= could * (isRefused ? 0.5 : 0.95), `${allowed} of ${could}`)
    })
  }

  test('that may not grow counts what has no room of its own for longer, never for less', () => {
    const log = new SlidingLog(100)
    for (const nowMs of [0, 10, 20, 30, 40]) log.add(nowMs, 5, never)
    const used = [99, 100, 119, 130, 139, 140].map(nowMs => {
      log.waitMs(nowMs, 5)
      return log.used
    })
    assert.deepEqual(used, [5, 4, 3, 2, 2, 0])
  })

  test('counts nothing of what it refused', () => {
    const limits = new RateLimits({ ...UNLIMITED, maxSubjects: 64 })
    const verdicts = [0, 10, 20, 999, 1_000, 1_009, 1_010].map(nowMs => {
      const { isAllowed, remaining, retryAfterMs } = limits.check('s', 2, 1_000, nowMs)
      return [nowMs, isAllowed, remaining, retryAfterMs]
    })
    assert.deepEqual(verdicts, [
      [0, true, 1, 0],
      [10, true, 0, 0],
      [20, false, 0, 980],
      [999, false, 0, 1],
      [1_000, true, 0, 0],
      [1_009, false, 0, 1],
      [1_010, true, 0, 0],
    ])
    assert.deepEqual(limits.figures().limited, { client: 0, global: 0, cache: 0, subject: 3 })
  })
})

describe('the table', () => {
  randomTest('lets no subject have more than its limit, however many there are', {}, random => {
    const table = new LimitTable(64, 256)
    const models = new Map<string, Model>()
    const windowMs = 1_000
    const max = 6
    let nowMs = 0
    let hasShared = false
    for (let i = 0; i < 20_000; i++) {
      // Crowds and quiet times by turns, so that subjects go from shared to own and back.
      const isCrowd = Math.floor(i / 2_000) % 2 === 0
      nowMs += random.below(isCrowd ? 3 : 60)
      const subject = `s${random.below(isCrowd ? 300 : 30)}`
      const log = table.logOf(subject, windowMs, nowMs)!
      let model = models.get(subject)
      if (model === undefined) models.set(subject, (model = new Model(windowMs)))
      const waitMs = log.waitMs(nowMs, max)
      assert.ok(waitMs >= model.waitMs(nowMs, max), `${subject} at ${nowMs}`)
      if (waitMs === 0) {
        log.add(nowMs, max, table.grow)
        model.add(nowMs)
      }
      hasShared ||= table.sharedChecks > 0
      assert.ok(table.subjectCount <= 64)
      assert.ok(table.runCount <= 64 * RUNS_AT_FIRST + 256)
    }
    assert.ok(hasShared)
    table.sweep(nowMs + windowMs)
    assert.deepEqual([table.subjectCount, table.runCount], [0, 0])
  })

  test('gives a subject no log of its own while what it shared still counts', () => {
    const table = new LimitTable(1, 0)
    table.logOf('a', 1_000, 0)!.add(0, 2, table.grow)
    for (let i = 0; i < 2; i++) table.logOf('b', 1_000, 900)!.add(900, 2, table.grow)
    table.sweep(1_050)
    assert.equal(table.logOf('b', 1_000, 1_100)!.waitMs(1_100, 2), 800)
    assert.equal(table.logOf('b', 1_000, 1_900)!.waitMs(1_900, 2), 0)
  })

  test('has a bounded size under subjects that are never seen again', () => {
    const limits = new RateLimits({ ...UNLIMITED, maxSubjects: 1_000 })
    const random = new Random(SEED)
    for (let i = 0; i < 100_000; i++) {
      limits.check(`${i}`, 3, 1 + random.below(200), i / 100)
    }
    const { subjects, sharedChecks } = limits.figures()
    assert.ok(subjects <= 1_000)
    assert.ok(sharedChecks > 0)
    assert.ok(limits.subjects.runCount <= 1_000 * 16)
  })

  test('is exact for every subject that it has room for', () => {
    const limits = new RateLimits({ ...UNLIMITED, maxSubjects: 200 })
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 200; i++) {
        const verdict = limits.check(`s${i}`, 3, 60_000, round)
        assert.deepEqual(
          [verdict.isAllowed, verdict.remaining],
          [round < 3, Math.max(0, 2 - round)],
        )
      }
    }
    assert.equal(limits.figures().sharedChecks, 0)
  })
})
