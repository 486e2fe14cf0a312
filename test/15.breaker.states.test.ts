/** The breaker: when it opens, who may try, what closes it; and against a model that keeps every call.
 *  Owns:   nothing.   Thread: main of a test process. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  Breaker,
  type BreakerSettings,
  INCIDENT_MS,
  NO_PASS,
  TRIAL_MS_MAX,
  TRIAL_RETRY_MS,
} from '../engine/breaker/breaker.ts'
import { BUCKET_COUNT } from '../engine/breaker/call_window.ts'
import { FULL, type Random, randomTest } from './helpers/random.ts'

const SETTINGS: BreakerSettings = {
  failures: 5,
  failureRate: 0.5,
  minCalls: 20,
  windowMs: 60_000,
  openMs: 30_000,
  successes: 2,
}

function open(settings: Partial<BreakerSettings> = {}): Breaker {
  return new Breaker('test', { ...SETTINGS, ...settings })
}

/** One call after the other, each with this end. */
function call(breaker: Breaker, nowMs: number, isFailure: boolean): void {
  const pass = breaker.admit(nowMs)
  assert.notEqual(pass, NO_PASS)
  if (isFailure) breaker.failed(pass, nowMs)
  else breaker.succeeded(pass, nowMs)
}

/** Opened at `nowMs`. */
function opened(nowMs: number): Breaker {
  const breaker = open()
  for (let i = 0; i < SETTINGS.failures; i++) call(breaker, nowMs, true)
  assert.equal(breaker.state, 'open')
  return breaker
}

describe('closed', () => {
  test('five failures in a row open it, and a success among them begins the count anew', () => {
    const breaker = open({ failureRate: 1 })
    for (let i = 0; i < 4; i++) call(breaker, 0, true)
    call(breaker, 0, false)
    for (let i = 0; i < 4; i++) call(breaker, 0, true)
    assert.equal(breaker.state, 'closed')
    call(breaker, 0, true)
    assert.equal(breaker.state, 'open')
  })

  test('half of twenty calls open it, half of nineteen do not', () => {
    const breaker = open()
    for (let i = 0; i < 19; i++) call(breaker, i, i % 2 === 0)
    assert.equal(breaker.state, 'closed')
    call(breaker, 19, true)
    assert.equal(breaker.state, 'open')
  })

  test('what is older than the window is forgotten', () => {
    const breaker = open({ failures: 1_000 })
    for (let i = 0; i < 19; i++) call(breaker, 0, true)
    call(breaker, SETTINGS.windowMs, true)
    assert.equal(breaker.state, 'closed')
    assert.equal(breaker.figures(SETTINGS.windowMs).calls, 1)
  })

  test('a hundred calls that were under way together are one failure', () => {
    const breaker = open()
    const passes = Array.from({ length: 100 }, () => breaker.admit(0))
    for (const pass of passes) breaker.failed(pass, 10)
    assert.equal(breaker.figures(10).failuresInRow, 1)
    assert.equal(breaker.state, 'closed')
  })

  test('calls under way at a target that stays silent are a failure each second', () => {
    const breaker = open()
    for (let i = 0; i < 5; i++) {
      const passes = Array.from({ length: 10 }, () => breaker.admit(0))
      for (const pass of passes) breaker.failed(pass, 30_000 + i * INCIDENT_MS)
      assert.equal(breaker.state, i < 4 ? 'closed' : 'open')
    }
  })
})

describe('open', () => {
  test('nothing passes before its time is over, and callers are told when', () => {
    const breaker = opened(1_000)
    assert.equal(breaker.admit(1_000), NO_PASS)
    assert.equal(breaker.retryAfterMs(1_000), SETTINGS.openMs)
    assert.equal(breaker.admit(30_999), NO_PASS)
    assert.equal(breaker.retryAfterMs(30_999), 1)
    assert.equal(breaker.figures(30_999).refused, 2)
    assert.equal(breaker.admits(31_000), true)
    assert.equal(breaker.state, 'open', 'asking changes nothing')
    assert.notEqual(breaker.admit(31_000), NO_PASS)
    assert.equal(breaker.state, 'half-open')
  })

  test('answers to calls from before are no trials', () => {
    const breaker = open()
    const early = breaker.admit(0)
    for (let i = 0; i < 5; i++) call(breaker, 0, true)
    const trial = breaker.admit(SETTINGS.openMs)
    breaker.succeeded(early, SETTINGS.openMs)
    breaker.succeeded(early, SETTINGS.openMs)
    assert.equal(breaker.state, 'half-open')
    breaker.failed(early, SETTINGS.openMs)
    assert.equal(breaker.state, 'half-open')
    breaker.failed(trial, SETTINGS.openMs)
    assert.equal(breaker.state, 'open')
  })

  test('a probe lets calls try before the time is over, and counts as the first success', () => {
    const breaker = opened(0)
    breaker.probeSucceeded()
    assert.equal(breaker.state, 'half-open')
    call(breaker, 1, false)
    assert.equal(breaker.state, 'closed')
    breaker.probeSucceeded()
    assert.deepEqual(breaker.figures(1).transitions, { closed: 1, 'half-open': 1, open: 1 })
  })
})

describe('half-open', () => {
  const atMs = SETTINGS.openMs

  test('one call tries at a time, and two successes close it', () => {
    const breaker = opened(0)
    const first = breaker.admit(atMs)
    assert.equal(breaker.admit(atMs), NO_PASS)
    assert.equal(breaker.retryAfterMs(atMs), TRIAL_RETRY_MS)
    breaker.succeeded(first, atMs)
    assert.equal(breaker.state, 'half-open')
    breaker.succeeded(breaker.admit(atMs), atMs)
    assert.equal(breaker.state, 'closed')
    assert.equal(breaker.retryAfterMs(atMs), 0)
  })

  test('one failure opens it again, for the whole time', () => {
    const breaker = opened(0)
    call(breaker, atMs, false)
    call(breaker, atMs + 5, true)
    assert.equal(breaker.state, 'open')
    assert.equal(breaker.retryAfterMs(atMs + 5), SETTINGS.openMs)
  })

  test('a trial that shows nothing makes room for the next, one that hangs does after a second', () => {
    const breaker = opened(0)
    breaker.spared(breaker.admit(atMs))
    const hanging = breaker.admit(atMs)
    assert.notEqual(hanging, NO_PASS)
    assert.equal(breaker.admit(atMs + TRIAL_MS_MAX - 1), NO_PASS)
    const next = breaker.admit(atMs + TRIAL_MS_MAX)
    assert.notEqual(next, NO_PASS)
    breaker.succeeded(hanging, atMs + TRIAL_MS_MAX)
    assert.equal(breaker.admit(atMs + TRIAL_MS_MAX), NO_PASS, 'the newer one is still under way')
    breaker.succeeded(next, atMs + TRIAL_MS_MAX)
    assert.equal(breaker.state, 'closed')
  })
})

test('each change of state is told, after it happened', () => {
  const told: string[] = []
  const breaker = new Breaker('test', SETTINGS, ({ state }) => told.push(state))
  for (let i = 0; i < 5; i++) call(breaker, 0, true)
  call(breaker, 30_000, false)
  call(breaker, 30_000, false)
  assert.deepEqual(told, ['open', 'half-open', 'closed'])
})

interface ModelPass {
  readonly episode: number
  readonly failuresBefore: number
  readonly trial: number
}

/** The rules once more, with every call of the episode kept and nothing summed up. */
class Model {
  state: 'closed' | 'half-open' | 'open' = 'closed'
  private readonly settings: BreakerSettings
  private episode = 0
  private calls: { atMs: number; isFailure: boolean }[] = []
  private sinceSuccess = 0
  private openedMs = 0
  private successes = 0
  private trials: { sinceMs: number; isOver: boolean }[] = []

  constructor(settings: BreakerSettings) {
    this.settings = settings
  }

  admit(nowMs: number): ModelPass | undefined {
    if (this.retryAfterMs(nowMs) > 0) return undefined
    if (this.state === 'open') this.turn('half-open')
    if (this.state === 'half-open') this.trials.push({ sinceMs: nowMs, isOver: false })
    const { episode, trials } = this
    return { episode, failuresBefore: this.failures().length, trial: trials.length - 1 }
  }

  settle(pass: ModelPass, how: 'succeeded' | 'failed' | 'spared', nowMs: number): void {
    if (pass.episode !== this.episode) return
    if (this.state === 'closed') {
      if (how === 'succeeded') {
        this.calls.push({ atMs: nowMs, isFailure: false })
        this.sinceSuccess = 0
      } else if (how === 'failed') this.fail(pass, nowMs)
      return
    }
    if (how === 'failed') return this.open(nowMs)
    this.trials[pass.trial]!.isOver = true
    if (how === 'succeeded') this.probe()
  }

  probe(): void {
    if (this.state === 'closed') return
    if (this.state === 'open') this.turn('half-open')
    if (++this.successes === this.settings.successes) this.turn('closed')
  }

  retryAfterMs(nowMs: number): number {
    if (this.state === 'closed') return 0
    if (this.state === 'open')
      return Math.max(0, Math.ceil(this.openedMs + this.settings.openMs - nowMs))
    const trial = this.trials.at(-1)
    const isUnderWay = trial !== undefined && !trial.isOver && nowMs - trial.sinceMs < TRIAL_MS_MAX
    return isUnderWay ? TRIAL_RETRY_MS : 0
  }

  counts(nowMs: number) {
    const bucketMs = this.settings.windowMs / BUCKET_COUNT
    const oldest = Math.floor(nowMs / bucketMs) - BUCKET_COUNT + 1
    const recent = this.calls.filter(({ atMs }) => Math.floor(atMs / bucketMs) >= oldest)
    const failures = recent.filter(({ isFailure }) => isFailure).length
    return { calls: recent.length, failures, failuresInRow: this.sinceSuccess }
  }

  private failures() {
    return this.calls.filter(({ isFailure }) => isFailure)
  }

  private fail(pass: ModelPass, nowMs: number): void {
    const all = this.failures()
    const isOfTheLast = pass.failuresBefore < all.length && nowMs - all.at(-1)!.atMs < INCIDENT_MS
    if (isOfTheLast) return
    this.calls.push({ atMs: nowMs, isFailure: true })
    this.sinceSuccess++
    const { calls, failures } = this.counts(nowMs)
    const { failureRate, minCalls } = this.settings
    const isRateReached = calls >= minCalls && failures / calls >= failureRate
    if (this.sinceSuccess >= this.settings.failures || isRateReached) this.open(nowMs)
  }

  private open(nowMs: number): void {
    this.openedMs = nowMs
    this.turn('open')
  }

  private turn(state: Model['state']): void {
    this.state = state
    this.episode++
    this.calls = []
    this.sinceSuccess = 0
    this.successes = 0
    this.trials = []
  }
}

function drawSettings(random: Random): BreakerSettings {
  return {
    failures: random.between(1, 8),
    failureRate: random.below(5) / 4,
    minCalls: random.between(1, 30),
    windowMs: random.between(1, 40) * 500,
    openMs: random.between(1, 20) * 100,
    successes: random.between(1, 3),
  }
}

/** Steps of all sizes that matter: none, within an incident, within a bucket, past windows. */
function drawPause(random: Random, { windowMs, openMs }: BreakerSettings): number {
  const most = random.chance(0.5)
    ? 3
    : [INCIDENT_MS, openMs, windowMs / BUCKET_COUNT, windowMs * 2][random.below(4)]!
  return random.below(most + 1) / (random.chance(0.3) ? 7 : 1)
}

randomTest('random calls end as the model has it, state, figures and waits', {}, random => {
  const seen = { closed: 0, 'half-open': 0, open: 0 }
  for (let round = 0; round < (FULL ? 2_000 : 150); round++) {
    const settings = drawSettings(random)
    const breaker = new Breaker('test', settings)
    const model = new Model(settings)
    const underWay: { pass: number; modelPass: ModelPass }[] = []
    const failing = random.below(100) / 100
    let nowMs = random.below(100_000)
    for (let step = 0; step < 300; step++) {
      nowMs += drawPause(random, settings)
      const draw = random.below(20)
      if (draw < 10) {
        assert.equal(breaker.admits(nowMs), model.retryAfterMs(nowMs) === 0)
        const pass = breaker.admit(nowMs)
        const modelPass = model.admit(nowMs)
        assert.equal(pass !== NO_PASS, modelPass !== undefined)
        if (modelPass !== undefined) underWay.push({ pass, modelPass })
      } else if (draw < 19) {
        const [ended] = underWay.splice(random.below(underWay.length + 1), 1)
        if (ended === undefined) continue
        const isSpared = random.chance(0.1)
        const how = isSpared ? 'spared' : random.chance(failing) ? 'failed' : 'succeeded'
        breaker[how](ended.pass, nowMs)
        model.settle(ended.modelPass, how, nowMs)
      } else if (random.chance(0.2)) {
        breaker.probeSucceeded()
        model.probe()
      }
      const { state, calls, failures, failuresInRow, retryAfterMs } = breaker.figures(nowMs)
      assert.deepEqual(
        { state, calls, failures, failuresInRow, retryAfterMs },
        { state: model.state, ...model.counts(nowMs), retryAfterMs: model.retryAfterMs(nowMs) },
      )
      seen[state]++
    }
  }
  for (const count of Object.values(seen)) assert.ok(count > 1_000, JSON.stringify(seen))
})
