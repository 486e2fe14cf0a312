/** parts: what every fault has in common: the shape of what was seen, and clients in processes of their own.
 *  Owns:   the client processes it started, each ended by end().   Not here: the engine (../macro/stand.ts), what clients do
 *          (client_process.ts).
 *  Thread: main of a bench or of a test.
 *  Holds:  a figure without a bound is told and holds nothing; an absolute time is judged at real size alone. */

import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { median, pause } from '../macro/stand.ts'

/** `short`: in a test, on whatever machine, within seconds. `real`: what RELIABILITY.md says. */
export type FireSize = 'short' | 'real'

/** One figure of a fault. */
export interface Seen {
  readonly what: string
  readonly figure: string
  readonly bound?: string
  /** Left out where nothing is promised. */
  readonly isHeld?: boolean
}

/** One fault: `run` brings it about and tells what was seen; undefined when this machine does not let it. */
export interface Fault {
  readonly name: string
  readonly done: string
  run(size: FireSize): Promise<readonly Seen[] | undefined>
}

/** What must be so. */
export function holds(what: string, isHeld: boolean, figure = isHeld ? 'yes' : 'no'): Seen {
  return { what, figure, isHeld }
}

/** A figure that must not be above its bound. */
export function atMost(what: string, actual: number, bound: number, unit: string): Seen {
  return {
    what,
    figure: `${shown(actual)} ${unit}`.trim(),
    bound: `≤ ${shown(bound)} ${unit}`.trim(),
    isHeld: actual <= bound,
  }
}

/** A figure that is told. */
export function told(what: string, figure: string): Seen {
  return { what, figure }
}

export function shown(value: number): string {
  if (Math.abs(value) >= 1_000) return Math.round(value).toLocaleString('en').replaceAll(',', ' ')
  return String(Number(value.toPrecision(3)))
}

const running = new Set<ChildProcess>()

/** Ends every client process that a fault left behind when it failed. */
export function endRoles(): void {
  for (const child of running) child.kill('SIGKILL')
}

/** A role of client_process.ts, running. */
export class Role<Told> {
  readonly child: ChildProcess
  private readonly lines: AsyncIterator<string>

  private constructor(name: string, socket: string, options: object) {
    const script = join(import.meta.dirname, 'client_process.ts')
    this.child = spawn(process.execPath, [script, name, socket, JSON.stringify(options)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    running.add(this.child)
    this.child.once('exit', () => running.delete(this.child))
    this.lines = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]()
  }

  /** Resolves once it has its connections. */
  static async start<Told>(name: string, socket: string, options: object): Promise<Role<Told>> {
    const role = new Role<Told>(name, socket, options)
    if ((await role.lines.next()).value !== 'ready') throw new Error(`${name} did not begin`)
    return role
  }

  /** Tells it to end, and gives what it has to say. */
  async end(): Promise<Told> {
    this.child.stdin!.end()
    const { value } = await this.lines.next()
    if (value === undefined) throw new Error('a client process died')
    return JSON.parse(value) as Told
  }
}

/** Memory above what it was, in MiB; after seconds a collection may still be owed. */
export function grown(what: string, bytes: number, mibMax: number, size: FireSize): Seen {
  return atMost(what, bytes / 2 ** 20, size === 'short' ? mibMax + 6 : mibMax, 'MiB')
}

/** How many descriptors a process has. */
export function descriptorCount(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

/** Files in shared memory that are an engine's. */
export function sharedMemoryCount(pid: number): number {
  return readdirSync('/dev/shm').filter(name => name.includes(`.${pid}-`)).length
}

/** Milliseconds of processor time that a process has used so far. */
export function processorMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}

/** The share of one processor that a process uses during so long. */
export async function processorShare(pid: number, forMs: number): Promise<number> {
  const usedMs = processorMs(pid)
  const startMs = performance.now()
  await pause(forMs)
  return (processorMs(pid) - usedMs) / (performance.now() - startMs)
}

/** Waits for something; how long that took, or Infinity when it did not come. */
export async function untilTrue(
  condition: () => Promise<boolean> | boolean,
  msMax: number,
): Promise<number> {
  const startMs = performance.now()
  while (!(await condition())) {
    if (performance.now() - startMs > msMax) return Infinity
    await pause(10)
  }
  return performance.now() - startMs
}

/** How long memory may take to come down: idle engines give it back after half a second. */
const SETTLE_MS_MAX = { short: 1_200, real: 8_000 }

/** Waits until memory has come down; the bytes then, the median of a few looks. */
export async function settledBytes(bytes: () => number, size: FireSize): Promise<number> {
  const endMs = performance.now() + SETTLE_MS_MAX[size]
  let lowest = Infinity
  for (;;) {
    const looks: number[] = []
    for (let i = 0; i < 5; i++) {
      looks.push(bytes())
      await pause(60)
    }
    const now = median(looks)
    if (now > lowest - 2 ** 16 || performance.now() > endMs) return Math.min(now, lowest)
    lowest = now
    await pause(300)
  }
}
