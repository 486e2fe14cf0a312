/** sqlite_writer: a process to be killed. Writes keys in groups of random size and prints the number of each one that was
 *  acknowledged, after it was.
 *  Owns:   a handler of tier 2 on the folder in its first argument.   Thread: main of its own process.
 *  Holds:  nothing is printed before its answer came. */

import { writeSync } from 'node:fs'
import { optionsFor, Tier } from './sqlite.ts'

const tier = new Tier(optionsFor(process.argv[2]!))
let next = Number(process.argv[3])
for (;;) {
  const tickets: [number, number][] = []
  for (let left = 1 + Math.floor(Math.random() * 200); left > 0; left--) {
    tickets.push([next, tier.put(`key:${next}`, Buffer.from(`value of ${next}`))])
    next++
  }
  tier.flush()
  tier.handler.idle?.()
  const acknowledged = tickets.filter(([, ticket]) => tier.answer(ticket).name === 'OK')
  writeSync(1, acknowledged.map(([number]) => `${number}\n`).join(''))
  tier.answers.clear()
}
