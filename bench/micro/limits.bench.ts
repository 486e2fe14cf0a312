/** limits: what a check of a named subject costs in the engine, without a socket.
 *  Owns:   one table of limits a trial.   Thread: main of a trial's process.
 *  Holds:  subjects are asked in an order that is the same everywhere; the clock is the one that requests are checked by. */

import { RateLimits } from '../../engine/guard/rate_limit.ts'
import { type Gate, type MicroBench, measure, type Size, type Trial } from '../harness.ts'

const CHECKS = { smoke: 1_000, real: 200_000 } as const
const SUBJECTS = { smoke: 50, real: 1_000 } as const
const UNLIMITED = { perClient: undefined, global: undefined, cachePerClient: undefined }
const CHECKS_A_SECOND = 2_000

export const bench: MicroBench = {
  title: `checks of ${SUBJECTS.real} subjects, a window of a minute`,
  isNot: 'Not a check over the socket, which is a round trip more.',
  trials: [
    trial('allowed: 1 of 1 000 000', 1_000_000),
    trial('refused: 100 are used up', 100),
    trial('one second, 10 000 at most', 10_000, 1_000),
    foundTrial(),
  ],
  // Absolute, since the promise is; a table of subjects that costs twice as much still holds it here.
  gates: rows =>
    [...rows].slice(0, 3).map(
      ([name, { figures }]): Gate => ({
        name: `thousand checks a second, ${name}`,
        actual: figures['thousand/s']!,
        atLeast: CHECKS_A_SECOND,
      }),
    ),
}

function trial(name: string, max: number, windowMs = 60_000): Trial {
  const run = (size: Size) => {
    const limits = new RateLimits({ ...UNLIMITED, maxSubjects: 4_096 })
    const subjects = subjectsOf(size)
    return measure(size, CHECKS[size], () => {
      let answers = 0
      for (let i = 0; i < CHECKS[size]; i++) {
        // A stride that is prime to the number of subjects: every one, in an order the processor cannot guess.
        const subject = subjects[(i * 7_919) % subjects.length]!
        if (limits.check(subject, max, windowMs).retryAfterMs >= 0) answers++
      }
      return answers
    })
  }
  return { name, run }
}

/** The floor: the subject's place in a Map, and nothing else. */
function foundTrial(): Trial {
  const run = (size: Size) => {
    const subjects = subjectsOf(size)
    const map = new Map(subjects.map((subject, i) => [subject, { count: i }]))
    return measure(size, CHECKS[size], () => {
      let answers = 0
      for (let i = 0; i < CHECKS[size]; i++) {
        if (map.get(subjects[(i * 7_919) % subjects.length]!)!.count >= 0) answers++
      }
      return answers
    })
  }
  return { name: 'a look into a Map', run }
}

function subjectsOf(size: Size): string[] {
  return Array.from({ length: SUBJECTS[size] }, (_, i) => `user:${i}`)
}
