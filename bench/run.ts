/** run: what `npm run bench` and its kin run.
 *  Owns:   the list of benches and the tables printed.   Not here: how a figure is made (harness.ts).
 *  Thread: main.
 *  Holds:  the exit code is 0 only if every gate asked for held; 2 for a wrong usage. */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import {
  type Gate,
  type MicroBench,
  machineLine,
  type Row,
  runTrials,
  type Size,
} from './harness.ts'

const MICRO = [
  'ring',
  'tier1',
  'codec',
  'rows',
  'sieve',
  'limits',
  'socket',
  'in_place',
  'pipeline',
] as const

const USAGE = `usage: node bench/run.ts [--smoke] [--gate | --cache | --load | --replicas | --fire | --peers] [word…]
  --smoke  small sizes: shows that everything runs, its figures mean nothing
  --gate   the ratios that CI holds; --peers: side by side with what is installed; --cache: the cache by itself;
           --load: many services at once; --replicas: memory with replicas, reads while one of them stands still;
           --fire: faults, 16 minutes
  word     only micro benches whose names contain it (${MICRO.join(', ')});
           with --fire, only faults whose names do`

const MODES = ['--gate', '--cache', '--load', '--replicas', '--fire', '--peers']
const FLAGS = ['--smoke', ...MODES]

process.exitCode = await main(process.argv.slice(2))

async function main(args: readonly string[]): Promise<number> {
  const flags = new Set(args.filter(arg => arg.startsWith('-')))
  const words = args.filter(arg => !arg.startsWith('-'))
  const unknown = [...flags].filter(flag => !FLAGS.includes(flag))
  const names = MICRO.filter(name => words.length === 0 || words.some(word => name.includes(word)))
  if (
    unknown.length > 0 ||
    (names.length === 0 && !flags.has('--fire')) ||
    MODES.filter(mode => flags.has(mode)).length > 1
  ) {
    console.error(USAGE)
    return 2
  }
  const size: Size = flags.has('--smoke') ? 'smoke' : 'real'
  console.log(`${machineLine()}\n`)
  if (flags.has('--peers')) return (await runMacro('peers', size)) ? 0 : 1
  if (flags.has('--cache')) return (await runMacro('cache', size)) ? 0 : 1
  if (flags.has('--replicas')) return (await runMacro('replicas', size)) ? 0 : 1
  if (flags.has('--load')) return (await runMacro('load', size)) ? 0 : 1
  if (flags.has('--fire')) return (await runFire(size, words)) ? 0 : 1
  if (!flags.has('--gate')) {
    for (const name of names) await runMicro(name, size)
    return 0
  }
  const areMicroHeld = await runGates(names, size)
  const isAll = words.length === 0
  return (isAll ? await runMacro('gate', size) : true) && areMicroHeld ? 0 : 1
}

/** One bench's table, and its gates. */
async function runMicro(name: string, size: Size): Promise<Gate[]> {
  const file = join(import.meta.dirname, 'micro', `${name}.bench.ts`)
  const { bench } = (await import(pathToFileURL(file).href)) as { bench: MicroBench }
  const rows = runTrials(file, bench, size)
  console.log(`${name}: ${bench.title}`)
  console.table(Object.fromEntries([...rows].map(([trial, row]) => [trial, shown(row)])))
  console.log(`${bench.isNot}\n`)
  return bench.gates?.(rows) ?? []
}

async function runGates(names: readonly string[], size: Size): Promise<boolean> {
  let areHeld = true
  for (const name of names) {
    if (!(await hasGates(name))) continue
    for (const gate of await runMicro(name, size)) {
      const isHeld = gate.actual >= gate.atLeast
      // A smoke run's figures mean nothing, so they fail nothing.
      areHeld &&= isHeld || size === 'smoke'
      console.log(
        `${isHeld ? 'held  ' : 'FAILED'} ${gate.name}: ${gate.actual.toFixed(2)}, at least ${gate.atLeast}`,
      )
    }
  }
  console.log()
  return areHeld
}

async function hasGates(name: string): Promise<boolean> {
  const file = join(import.meta.dirname, 'micro', `${name}.bench.ts`)
  const { bench } = (await import(pathToFileURL(file).href)) as { bench: MicroBench }
  return bench.gates !== undefined
}

async function runFire(size: Size, words: readonly string[]): Promise<boolean> {
  const { run } = await import('./fire/run.ts')
  return run(size, words)
}

/** The benches through the socket. */
async function runMacro(
  name: 'gate' | 'cache' | 'load' | 'replicas' | 'peers',
  size: Size,
): Promise<boolean> {
  const file = join(import.meta.dirname, 'macro', `${name}.ts`)
  if (!existsSync(file)) {
    console.error(`bench/macro/${name}.ts is not there`)
    return false
  }
  const { run } = (await import(pathToFileURL(file).href)) as { run(size: Size): Promise<boolean> }
  return run(size)
}

function shown({ figures, hash }: Row): Record<string, number | string> {
  const rounded = Object.entries(figures).map(([key, figure]) => [
    key,
    Math.abs(figure) >= 100 ? Math.round(figure) : Number(figure.toPrecision(3)),
  ])
  return { ...Object.fromEntries(rounded), hash: (hash >>> 0).toString(16).padStart(8, '0') }
}
