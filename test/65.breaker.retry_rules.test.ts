/** What is asked again and what never is: each error of the worker against each kind of statement.
 *  Owns:   nothing.   Thread: main of a test process. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { HearthError } from '../engine/errors.ts'
import {
  busyError,
  cancelledError,
  circuitOpenError,
  closedError,
  databaseError,
  exhaustedError,
  givenUpError,
  loginError,
  lostError,
  silentError,
  tooLargeError,
  unknownCommitError,
  unreachableError,
} from '../workers/postgres/errors.ts'
import { UNTRIED } from '../workers/postgres/retries.ts'
import { CONFLICT_COUNT_MAX, retryOf, type Tried } from '../workers/postgres/retry.ts'

const SETTINGS = { retries: 3, backoffMs: 1_000 }
const sql = (sqlState: string) => databaseError({ sqlState }, 'refused', 'c')

/** Of a statement that may write (`write`), and of one that is proven to read only (`read`). */
const EXPECTED: Record<string, { error: HearthError; write: string; read: string }> = {
  'no connection can be made': { error: unreachableError('x'), write: 'pause', read: 'pause' },
  'no connection came within the wait, for none can be made': {
    error: exhaustedError('main', 9, 'x', true, 'c'),
    write: 'pause',
    read: 'pause',
  },
  'the connection was lost': {
    error: lostError(true, 'x', undefined, 'c'),
    write: 'never',
    read: 'move',
  },
  'the server ended the connection': {
    error: lostError(true, 'x', '57P01', 'c'),
    write: 'never',
    read: 'move',
  },
  'all connections are busy': {
    error: exhaustedError('main', 9, 'x', false, 'c'),
    write: 'never',
    read: 'never',
  },
  'the queue is full': { error: busyError('main', 'c'), write: 'never', read: 'never' },
  'the login was refused': { error: loginError('x', 'c'), write: 'never', read: 'never' },
  'the breaker was open before': {
    error: circuitOpenError('main.reads', 30_000, 'x', 'c'),
    write: 'never',
    read: 'never',
  },
  'the deadline passed, cancelled': {
    error: cancelledError(9, 'c'),
    write: 'never',
    read: 'never',
  },
  'the deadline passed in silence': {
    error: silentError(9, true, 'c'),
    write: 'never',
    read: 'never',
  },
  'given up before it was sent': { error: givenUpError(false, 'c'), write: 'never', read: 'never' },
  'given up at the server': { error: givenUpError(true, 'c'), write: 'never', read: 'never' },
  'the pool is closed': { error: closedError('main'), write: 'never', read: 'never' },
  'the result is too large': { error: tooLargeError('c'), write: 'never', read: 'never' },
  'COMMIT was not answered': {
    error: unknownCommitError('x', 'c'),
    write: 'never',
    read: 'never',
  },
  '40001 serialization failure': { error: sql('40001'), write: 'conflict', read: 'conflict' },
  '40P01 deadlock': { error: sql('40P01'), write: 'conflict', read: 'conflict' },
  '40003 statement completion unknown': { error: sql('40003'), write: 'never', read: 'never' },
  '08007 transaction resolution unknown': { error: sql('08007'), write: 'never', read: 'never' },
  '40002 integrity constraint': { error: sql('40002'), write: 'never', read: 'never' },
  '23505 unique violation': { error: sql('23505'), write: 'never', read: 'never' },
  '23P01 exclusion violation': { error: sql('23P01'), write: 'never', read: 'never' },
  '25006 read only': { error: sql('25006'), write: 'never', read: 'never' },
  '55P03 lock not available': { error: sql('55P03'), write: 'never', read: 'never' },
  '57014 cancelled by somebody': { error: sql('57014'), write: 'never', read: 'never' },
}

describe('the first failure', () => {
  for (const [what, { error, ...expected }] of Object.entries(EXPECTED))
    for (const kind of ['write', 'read'] as const)
      test(`${what}: a ${kind} is tried again: ${expected[kind]}`, () => {
        const retry = retryOf(error, UNTRIED, kind === 'read', SETTINGS)
        assert.equal(retry?.kind ?? 'never', expected[kind])
      })
})

/** The base of each pause, by bounds of its jitter. */
function pausesOf(error: HearthError, mayRepeat: boolean): number[] {
  const bases: number[] = []
  for (let retries = 0; ; retries++) {
    const tried: Tried = { ...UNTRIED, retries, wasMoved: true }
    const retry = retryOf(error, tried, mayRepeat, SETTINGS)
    if (retry === undefined) return bases
    const base = SETTINGS.backoffMs * 2 ** retries
    assert.ok(retry.delayMs >= base * 0.75, `${retry.delayMs}`)
    assert.ok(retry.delayMs <= base * 1.25, `${retry.delayMs}`)
    bases.push(base)
  }
}

test('pauses are 1 s, 2 s and 4 s, a quarter more or less, and then it is over', () => {
  for (let round = 0; round < 50; round++) {
    assert.deepEqual(pausesOf(unreachableError('x'), false), [1_000, 2_000, 4_000])
    assert.deepEqual(pausesOf(lostError(true, 'x', '', 'c'), true), [1_000, 2_000, 4_000])
    assert.deepEqual(
      pausesOf(circuitOpenError('b', 30_000, 'x', 'c'), false),
      [1_000, 2_000, 4_000],
    )
  }
})

test('pauses differ, so that those who failed together do not come back together', () => {
  const pauses = Array.from(
    { length: 20 },
    () => retryOf(unreachableError('x'), UNTRIED, false, SETTINGS)!.delayMs,
  )
  assert.ok(new Set(pauses).size > 15)
})

test('a conflict is tried again five times, within a second in all', () => {
  let inAllMs = 0
  for (let conflicts = 0; conflicts < CONFLICT_COUNT_MAX; conflicts++) {
    const retry = retryOf(sql('40001'), { ...UNTRIED, conflicts }, false, SETTINGS)
    assert.equal(retry?.kind, 'conflict')
    inAllMs += retry.delayMs
  }
  assert.ok(inAllMs < 1_000)
  const last = { ...UNTRIED, conflicts: CONFLICT_COUNT_MAX }
  assert.equal(retryOf(sql('40001'), last, false, SETTINGS), undefined)
})

test('while another statement tries, one that has waited before waits a little on, as often as it takes', () => {
  const refusal = circuitOpenError('main.reads', 100, 'x', 'c')
  const retry = retryOf(refusal, { ...UNTRIED, retries: 3 }, false, SETTINGS)
  assert.equal(retry?.kind, 'wait')
  assert.ok(retry.delayMs < 200)
})

test('a trial that finds no server is not tried again, one that loses a read in flight is', () => {
  assert.equal(retryOf(unreachableError('x'), UNTRIED, true, SETTINGS, true), undefined)
  const retry = retryOf(lostError(true, 'x', '57P01', 'c'), UNTRIED, true, SETTINGS, true)
  assert.equal(retry?.kind, 'move')
})

test('with retries 0 nothing is tried again', () => {
  for (const { error } of Object.values(EXPECTED))
    assert.equal(retryOf(error, UNTRIED, true, { ...SETTINGS, retries: 0 }), undefined)
})
