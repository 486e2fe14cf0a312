/** Globs read as Redis reads them, by character.
 *  Owns:   nothing.   Thread: main of a test process.   Holds: the matrix below. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { monotonicMs } from '../engine/clock.ts'
import { Glob } from '../engine/glob.ts'

const MATRIX: [pattern: string, matches: string[], others: string[]][] = [
  ['', [''], ['a']],
  ['*', ['', 'a', 'a\nb', 'nul\0'], []],
  ['device:*', ['device:', 'device:1', 'device:**'], ['device', 'xdevice:1', 'Device:1']],
  ['*:state', [':state', 'a:state', ':state:state'], ['a:states', 'state']],
  ['a*b*c', ['abc', 'aXbYc', 'abcbc', 'a*b*c'], ['ab', 'acb', 'abcd']],
  ['**a**', ['a', 'xax'], ['', 'b']],
  ['h?llo', ['hello', 'h😀llo', 'hüllo'], ['hllo', 'heello']],
  ['h[ae]llo', ['hello', 'hallo'], ['hillo', 'hllo']],
  ['h[^e]llo', ['hallo', 'h^llo', 'h😀llo'], ['hello']],
  ['h[a-c]llo', ['hallo', 'hcllo'], ['hdllo', 'h-llo']],
  ['h[c-a]llo', ['hbllo'], ['hdllo']],
  ['h[^a-c]llo', ['hdllo'], ['hbllo']],
  ['h[a^]llo', ['h^llo', 'hallo'], ['hbllo']],
  // As in Redis, `-]` is a range to the bracket, and the class goes on.
  ['h[a-]llo', ['ha', 'h]', 'ho'], ['h-', 'hello', 'h]llo']],
  ['[\\]x]', [']', 'x'], ['\\']],
  ['[\\^a]', ['^', 'a'], ['b']],
  ['[a\\-c]', ['a', '-', 'c'], ['b']],
  ['[a-z', ['b'], ['B', '[a-z']],
  ['[]', [], ['', '[]', 'a']],
  ['\\*', ['*'], ['a', '\\*']],
  ['\\?\\[x\\]', ['?[x]'], ['a[x]', '?x']],
  ['a\\', ['a\\'], ['a']],
  ['a]b', ['a]b'], ['ab']],
  ['[ä-ü]', ['ö'], ['a']],
  ['[😀-😂]', ['😁'], ['😃', '\ud83d']],
]

for (const [pattern, matches, others] of MATRIX) {
  test(`${JSON.stringify(pattern)} matches ${matches.length} and leaves ${others.length}`, () => {
    const glob = new Glob(pattern)
    for (const key of matches) {
      assert.ok(glob.matches(key), `${JSON.stringify(key)} matches`)
      assert.ok(key.startsWith(glob.prefix), 'and begins with the prefix')
    }
    for (const key of others) assert.ok(!glob.matches(key), `${JSON.stringify(key)} does not match`)
  })
}

test('the prefix is what stands before the first wildcard, escapes undone', () => {
  for (const [pattern, prefix] of [
    ['ab*c', 'ab'],
    ['a\\*b?', 'a*b'],
    ['[a]b', ''],
    ['plain', 'plain'],
  ] as const) {
    assert.equal(new Glob(pattern).prefix, prefix)
  }
})

test('a pattern of many stars takes no longer than pattern times key', () => {
  const glob = new Glob(`${'*a'.repeat(200)}b`)
  const startedMs = monotonicMs()
  assert.ok(!glob.matches('a'.repeat(1_000)))
  assert.ok(monotonicMs() - startedMs < 2_000)
})
