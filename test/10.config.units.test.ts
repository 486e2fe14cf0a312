/** Units of the configuration: what is read, what is refused, and that writing and reading
 *  agree. */

import assert from 'node:assert/strict'
import test from 'node:test'
import {
  durationMs,
  formatDuration,
  formatSize,
  parseDuration,
  parseSize,
  sizeBytes,
} from '../engine/config/units.ts'
import { SEED } from './helpers/random.ts'

test('durations are read with their unit', () => {
  const EXPECTED = {
    '250ms': 250,
    '30s': 30_000,
    '5m': 300_000,
    '1h': 3_600_000,
    '24h': 86_400_000,
    '7d': 604_800_000,
    '1.5s': 1_500,
    '0.1s': 100,
    '1.1h': 3_960_000,
    ' 2 s ': 2_000,
    '0': 0,
    '0s': 0,
  }
  for (const [text, ms] of Object.entries(EXPECTED)) assert.equal(durationMs(text), ms, text)
})

test('a duration without a unit, with a wrong one, or of no whole milliseconds is refused', () => {
  for (const text of [
    '',
    '30',
    '-1s',
    '5M',
    '5min',
    '1h30m',
    's',
    '1e3s',
    '0.0001s',
    '9'.repeat(16) + 'h',
    '٣s',
  ]) {
    assert.equal(durationMs(text), undefined, text)
  }
})

test('every size suffix counts in 1024s, in any case, and no suffix means bytes', () => {
  for (const text of ['64K', '64k', '64KB', '64kb', '64KiB', '64 KiB', '65536', '65536B']) {
    assert.equal(sizeBytes(text), 65_536, text)
  }
  assert.equal(sizeBytes('4MiB'), 4 * 1024 ** 2)
  assert.equal(sizeBytes('1.5G'), 1.5 * 1024 ** 3)
  assert.equal(sizeBytes('2T'), 2 * 1024 ** 4)
})

test('a size with a strange suffix, a sign or a part of a byte is refused', () => {
  for (const text of ['', '-1', 'KiB', '1XiB', '0.3', '1KiBs', '9'.repeat(16) + 'T', '1_000']) {
    assert.equal(sizeBytes(text), undefined, text)
  }
})

test('a refused text is told with what was expected', () => {
  const badDuration = { code: 'BAD_REQUEST', message: /found "30", expected a duration .* 250ms/ }
  const badSize = { code: 'BAD_REQUEST', message: /found "4XB", expected a size .* 4MiB/ }
  assert.throws(() => parseDuration('30'), badDuration)
  assert.throws(() => parseSize('4XB'), badSize)
})

test('a number is written in the largest unit that holds it whole', () => {
  assert.deepEqual(
    [0, 1, 250, 90_000, 300_000, 3_600_000, 86_400_000, 172_800_000].map(formatDuration),
    ['0ms', '1ms', '250ms', '90s', '5m', '1h', '24h', '2d'],
  )
  assert.deepEqual([0, 1, 1000, 1024, 65_537, 4 * 1024 ** 2, 1024 ** 4].map(formatSize), [
    '0',
    '1',
    '1000',
    '1KiB',
    '65537',
    '4MiB',
    '1TiB',
  ])
})

test(`what is written is read back as the same number (SEED=${SEED})`, () => {
  let state = SEED
  for (let round = 0; round < 20_000; round++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    const number = Math.floor(state * 2 ** (round % 18))
    assert.equal(parseDuration(formatDuration(number)), number)
    assert.equal(parseSize(formatSize(number)), number)
  }
})
