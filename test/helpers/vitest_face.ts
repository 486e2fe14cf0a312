/** vitest_face: the few words of vitest that Keyv's public test suite speaks, said in node:test's.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Holds:  (1) a matcher that is not here throws, so that nothing passes unchecked.  (2) hooks are those of the describe() in which
 *          the face was made. */

import assert from 'node:assert/strict'
import { afterEach, beforeEach, it } from 'node:test'

type Check = (context: { expect: ReturnType<typeof expecting> }) => unknown

/** What the suite is handed as `test`. `names` gathers the sentences of its tests. */
export function vitestFace(names: string[] = []) {
  return {
    it: (name: string, check: Check) => {
      names.push(name)
      it(name, async () => {
        const expect = expecting()
        await check({ expect })
        expect.verify()
      })
    },
    beforeEach: (run: () => Promise<void>) => beforeEach(() => run()),
    afterEach: (run: () => Promise<void>) => afterEach(() => run()),
  }
}

function expecting() {
  let wanted: number | undefined
  let made = 0
  const expect = (actual: unknown) => {
    made++
    return new Proxy(matchersOf(actual), {
      get: (matchers, name) => {
        if (!(name in matchers)) throw new Error(`the matcher ${String(name)} is not known here`)
        return matchers[name as keyof typeof matchers]
      },
    })
  }
  return Object.assign(expect, {
    assertions: (count: number) => {
      wanted = count
    },
    verify: () => {
      if (wanted !== undefined) assert.equal(made, wanted, 'as many assertions as were announced')
    },
  })
}

function matchersOf(actual: unknown) {
  return {
    toBe: (expected: unknown) => assert.ok(Object.is(actual, expected), `${actual} is ${expected}`),
    toEqual: (expected: unknown) => assert.deepEqual(actual, expected),
    toBeTruthy: () => assert.ok(actual),
    toBeFalsy: () => assert.ok(!actual),
    toBeNull: () => assert.equal(actual, null),
    toBeUndefined: () => assert.equal(actual, undefined),
    toBeDefined: () => assert.notEqual(actual, undefined),
  }
}
