/** run: what `npm test` runs: every test file, or those whose names contain one of the words given.
 *  Owns:   the child processes of node:test.   Thread: main.
 *  Holds:  (1) a file that starts servers, or measures time, has the machine to itself, unless it says that it may run beside others.
 *          (2) one summary at the end, over all files.  (3) the exit code is 0 only if every test passed, 2 for a wrong usage. */

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import { makeTemplate } from './helpers/postgres_template.ts'

const NODE_MAJOR_MIN = 22
const FILE_MS_MAX = { short: 300_000, full: 3_600_000 } as const

/** A test file has the machine to itself if it says `Runs: alone` in its header, or starts servers through these. */
const ALONE =
  /Runs:\s+alone|from '\.\/helpers\/(postgres|engine|daemon|redis)\w*\.ts'|from '\.\.\/engine\/dev\//

/** Though it starts servers, it runs beside others: it mostly waits, or no figure of it is near its bound. */
const BESIDE = /Runs:\s+beside others/
const BESIDE_COUNT = 4

/** A test file whose servers are copies of one cluster, which is made when several are to be run. */
const COPIES = /from '\.\/helpers\/(postgres|postgres_cluster|migrate|faulty_proxy|sql_engine)\.ts'/

const USAGE = `usage: node test/run.ts [--full] [word…]
  --full   the long run: everything at its full size, from a new seed
  word     only files whose names contain it`

const folder = import.meta.dirname
const root = join(folder, '..')

async function main(args: readonly string[]): Promise<number> {
  const options = args.filter(arg => arg.startsWith('-'))
  const words = args.filter(arg => !arg.startsWith('-'))
  const wrong = options.find(option => option !== '--full')
  if (wrong !== undefined) return refuse(`unknown option ${wrong}\n${USAGE}`, 2)
  const major = Number(process.versions.node.split('.')[0])
  if (major < NODE_MAJOR_MIN) {
    return refuse(
      `Hearth needs Node ${NODE_MAJOR_MIN} or newer, and this is ${process.version}: use \`npm test\``,
      1,
    )
  }
  const isFull = options.length > 0
  if (isFull) process.env['HEARTH_TEST_FULL'] = '1'
  const files = testFiles(words)
  if (files.length === 0) return refuse(`no test file has ${words.join(' or ')} in its name`, 2)
  if (!build()) return refuse('the build failed, so no test was run', 1)
  return runAll(files, isFull ? FILE_MS_MAX.full : FILE_MS_MAX.short)
}

function refuse(why: string, code: number): number {
  console.error(why)
  return code
}

function testFiles(words: readonly string[]): string[] {
  return readdirSync(folder)
    .filter(file => file.endsWith('.test.ts'))
    .filter(file => words.length === 0 || words.some(word => file.includes(word)))
    .toSorted()
    .map(file => join(folder, file))
}

/** Some tests start what an operator starts: the bundles must be those of these sources. */
function build(): boolean {
  const script = join(root, 'engine/build.mjs')
  if (!existsSync(script)) return true
  return spawnSync(process.execPath, [script], { cwd: root, stdio: 'inherit' }).status === 0
}

async function runAll(files: readonly string[], timeout: number): Promise<number> {
  const byWay = Object.groupBy(files, wayOf)
  const groups = [
    // Those that take long are the later ones: begun first, they do not run on while all others are done.
    { files: (byWay.beside ?? []).toReversed(), concurrency: BESIDE_COUNT },
    { files: byWay.alone ?? [], concurrency: 1 },
  ]
  const copying = files.filter(file => COPIES.test(readFileSync(file, 'utf8')))
  // Where none can be made, each of them says why.
  if (copying.length > 1) await makeTemplate().catch(() => undefined)
  const summary = new Summary()
  const reporter = new spec()
  reporter.pipe(process.stdout)
  for (const group of groups) {
    if (group.files.length === 0) continue
    for await (const event of run({ ...group, timeout })) {
      if (!summary.takes(event)) reporter.write(event)
      tellSignal(event)
    }
  }
  for (const event of summary.events()) reporter.write(event)
  reporter.end()
  return summary.isPassed ? 0 : 1
}

function wayOf(file: string): 'beside' | 'alone' {
  const text = readFileSync(file, 'utf8')
  return ALONE.test(text) && !BESIDE.test(text) ? 'alone' : 'beside'
}

interface Event {
  readonly type: string
  readonly data: unknown
}

/** A file whose process was killed has failed without a word of its own. */
function tellSignal(event: Event): void {
  if (event.type !== 'test:fail') return
  const { file, details } = event.data as { file?: string; details: { error: { signal?: string } } }
  const { signal } = details.error
  if (typeof signal === 'string') console.error(`# ${file ?? 'a test file'} was ended by ${signal}`)
}

/** The closing figures of each group, added up. */
class Summary {
  private readonly figures = new Map<string, number>()

  get isPassed(): boolean {
    return ['fail', 'cancelled'].every(name => this.figures.get(name) === 0)
  }

  /** Takes the closing figures out of a group's events; true when it was one. */
  takes(event: Event): boolean {
    if (event.type === 'test:summary') return true
    if (event.type !== 'test:diagnostic') return false
    const { message, nesting } = event.data as { message: string; nesting: number }
    const found = /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) ([\d.]+)$/.exec(
      message,
    )
    if (found === null || nesting > 0) return false
    this.figures.set(found[1]!, (this.figures.get(found[1]!) ?? 0) + Number(found[2]))
    return true
  }

  events(): Event[] {
    return [...this.figures].map(([name, figure]) => ({
      type: 'test:diagnostic',
      data: { nesting: 0, message: `${name} ${figure}`, level: 'info' },
    }))
  }
}

// Last, since the class above is not there before its line.
process.exitCode = await main(process.argv.slice(2))
