/** run: each fault at its real size against the engine that ships, and bench/RELIABILITY.md.
 *  Owns:   the list of faults and that file.   Not here: what a fault is (flood.ts, connections.ts, …).
 *  Thread: main of the bench.
 *  Holds:  (1) a fault that was run replaces its own part of the file, the others stay.  (2) a fault that this machine does not let
 *          be brought about is said so, and leaves the file as it is. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { machineLine, type Size } from '../harness.ts'
import { clockJumps } from './clock.ts'
import { halfOpen, manyConnections, noDescriptors, slowReader } from './connections.ts'
import { diskFull, fileDamaged } from './disk.ts'
import { flood } from './flood.ts'
import { endRoles, type Fault, type Seen } from './parts.ts'
import { postgresGone } from './postgres.ts'
import { soak } from './soak.ts'
import { workerKilled } from './workers.ts'

const FILE = join(import.meta.dirname, '..', 'RELIABILITY.md')
const HEAD = `# Under fire

Written by \`npm run bench:fire\`, part by part: what is done to an engine, and what was seen. The engine is the one that ships, \`hearth serve\`
from \`dist/\`; clients are processes of their own. The same faults, shorter, are tests: \`test/94.fire.*\`.
`

export const FAULTS: readonly Fault[] = [
  flood,
  slowReader,
  halfOpen,
  manyConnections,
  noDescriptors,
  clockJumps,
  workerKilled,
  diskFull,
  fileDamaged,
  postgresGone,
  soak,
]

/** False when a bound was not held. `word`: only faults whose names contain one of them. A smoke run writes nothing. */
export async function run(size: Size, words: readonly string[]): Promise<boolean> {
  let areHeld = true
  for (const fault of FAULTS) {
    if (words.length > 0 && !words.some(word => fault.name.includes(word))) continue
    const startMs = performance.now()
    const seen = await fault.run(size === 'smoke' ? 'short' : 'real').finally(endRoles)
    if (seen === undefined) {
      console.log(`${fault.name}: this machine does not let it be tried\n`)
      continue
    }
    const seconds = Math.round((performance.now() - startMs) / 1_000)
    const text = partOf(fault, seen, seconds)
    console.log(text)
    if (size === 'real') write(fault, text)
    areHeld &&= seen.every(({ isHeld }) => isHeld !== false)
  }
  return areHeld || size === 'smoke'
}

function partOf({ name, done }: Fault, seen: readonly Seen[], seconds: number): string {
  const lines = seen.map(({ what, figure, bound, isHeld }) => {
    const verdict = isHeld === undefined ? '' : isHeld ? 'yes' : 'NO'
    return `| ${what} | ${figure} | ${bound ?? ''} | ${verdict} |`
  })
  return [
    titleOf(name),
    '',
    `${done[0]!.toUpperCase()}${done.slice(1)}.`,
    '',
    '| seen | figure | bound | held |',
    '| --- | --- | --- | --- |',
    ...lines,
    '',
    `${machineLine()}; ${new Date().toISOString().slice(0, 10)}; ${seconds} s`,
    '',
  ].join('\n')
}

function titleOf(name: string): string {
  return `## ${name[0]!.toUpperCase()}${name.slice(1)}`
}

function write(fault: Fault, text: string): void {
  const parts = new Map<string, string>()
  const old = existsSync(FILE) ? readFileSync(FILE, 'utf8') : ''
  for (const part of old.split(/^(?=## )/m)) parts.set(part.split('\n')[0]!, part)
  parts.set(titleOf(fault.name), text)
  const inOrder = FAULTS.map(({ name }) => parts.get(titleOf(name))?.trim()).filter(Boolean)
  writeFileSync(FILE, `${[HEAD.trim(), ...inOrder].join('\n\n')}\n`)
}
