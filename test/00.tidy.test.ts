/** The rules of the house, held by a test: who may import whom, what a file opens with, how long things are, what is dead.
 *  Owns:   the tables below, which are the rules.   Thread: main of a test process.
 *  Holds:  a violation is told as path:line and what to do, all of them at once. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { emitted, render, renderReadme, renderRules } from '../engine/protocol/emit.ts'
import {
  exists,
  headerOf,
  importsOf,
  namedIn,
  readSource,
  type Source,
  sources,
  withoutComments,
} from './helpers/sources.ts'

const LEAVES = [
  'engine/alert_names.ts',
  'engine/assert.ts',
  'engine/breaker/breaker.ts',
  'engine/breaker/call_window.ts',
  'engine/bytes.ts',
  'engine/clock.ts',
  'engine/collector.ts',
  'engine/correlation.ts',
  'engine/errors.ts',
  'engine/figures.ts',
  'engine/folder_lock.ts',
  'engine/glob.ts',
  'engine/hash.ts',
  'engine/histogram.ts',
  'engine/limits.ts',
  'engine/log.ts',
  'engine/native.ts',
  'engine/own_memory.ts',
  'engine/paths.ts',
  'engine/trace_context.ts',
  'engine/service_manager.ts',
  'engine/sql_comment.ts',
  'engine/sql_tokens.ts',
  'engine/steady.ts',
  'engine/watch/triggers.ts',
] as const

interface Rule {
  /** Files or folders that it may import; `leaves` and its own folder it always may. */
  readonly values: readonly string[]
  /** Those of which it may know the types besides: the shapes it is handed, never the code behind them. */
  readonly types?: readonly string[]
}

/** By folder or file; the longest that fits holds. What is not here may import leaves and its own folder. */
const MAY_IMPORT: Record<string, Rule> = {
  'engine/native.ts': { values: ['native-bindings'] },
  'engine/protocol': { values: [] },
  'engine/protocol/emit.ts': {
    values: [
      'engine/observe/metric_spec.ts',
      'engine/observe/alerts/alert_spec.ts',
      'engine/observe/alerts/prometheus_rules.ts',
    ],
  },
  'engine/ring': { values: ['engine/protocol/header.ts'] },
  'engine/cache': { values: ['native-bindings'] },
  'engine/config': { values: [], types: ['engine/pool/worker_task.ts'] },
  'engine/guard': { values: ['engine/protocol'] },
  'engine/database': { values: ['engine/protocol'] },
  'engine/pool': { values: ['engine/protocol', 'engine/ring'] },
  'engine/router': {
    values: ['engine/protocol', 'engine/cache', 'engine/database', 'engine/guard', 'engine/pool'],
    types: ['engine/ring'],
  },
  'engine/server': {
    values: ['engine/guard', 'engine/protocol', 'engine/router', 'native-bindings'],
    types: ['engine/client/connection.ts'],
  },
  'engine/client': {
    values: [
      'engine/protocol',
      'engine/cache/reader_page.ts',
      'engine/cache/segment.ts',
      'engine/config/socket_path.ts',
      'engine/config/units.ts',
      'native-bindings',
    ],
  },
  'engine/migrate': { values: ['engine/config/units.ts', 'native-bindings'] },
  'engine/deploy': { values: ['engine/config'] },
  'engine/services': { values: ['engine/protocol'], types: ['engine/router'] },
  'engine/observe': {
    values: ['engine/protocol/spec.ts'],
    types: ['engine/cache', 'engine/pool', 'engine/router'],
  },
  'engine/dev': { values: ['engine/config', 'engine/client', 'engine/index.ts'] },
  'engine/cli': {
    values: [
      'engine/config',
      'engine/client',
      'engine/deploy',
      'engine/dev',
      'engine/guard',
      'engine/index.ts',
      'engine/migrate',
      'engine/protocol',
      'engine/observe',
      'native-bindings',
    ],
  },
  'engine/main.ts': {
    values: [
      'engine/cache',
      'engine/config',
      'engine/database',
      'engine/guard',
      'engine/observe',
      'engine/pool',
      'engine/protocol',
      'engine/ring',
      'engine/router',
      'engine/server',
      'engine/services',
    ],
  },
  'engine/daemon.ts': {
    values: ['engine/main.ts', 'engine/config', 'engine/observe', 'engine/server'],
  },
  'engine/index.ts': {
    values: ['engine/main.ts', 'engine/client', 'engine/config', 'engine/server/local_wire.ts'],
  },
  'native-bindings': { values: [] },
  workers: {
    values: [
      'engine/protocol',
      'engine/ring',
      'native-bindings',
      'workers/sqlite',
      'workers/postgres',
    ],
    types: ['engine/pool/worker_task.ts'],
  },
  'workers/sqlite': {
    values: ['engine/protocol', 'engine/ring', 'native-bindings', 'workers/handler.ts'],
  },
  'workers/postgres': {
    values: ['engine/protocol', 'engine/ring', 'native-bindings', 'workers/handler.ts'],
  },
}

/** The one file that imports each dependency; others may know its types. Tests, benches and build scripts are exempt. */
const ONLY_IMPORTER: Record<string, string> = {
  'better-sqlite3': 'workers/sqlite/store.ts',
  'http-cache-semantics': 'engine/client/service/http_cache.ts',
  hyperid: 'engine/correlation.ts',
  'libpg-query': 'engine/migrate/parser.ts',
  msgpackr: 'engine/protocol/payload.ts',
  nodemailer: 'engine/observe/alerts/sender/email.ts',
  'pg-native': 'workers/postgres/connection_dial.ts',
  piscina: 'engine/pool/pool.ts',
  'smol-toml': 'engine/config/toml.ts',
  uplot: 'engine/observe/page/browser/chart.ts',
}

/** Calls that one file alone makes, because it holds what makes them safe. */
const ONLY_CALLER = [
  {
    call: /\b(Date\.now|performance\.now)\(/,
    files: ['engine/clock.ts', 'engine/observe/page/browser/clock.ts'],
    instead: 'engine/clock.ts',
  },
  {
    call: /\bAtomics\.(wait|waitAsync|notify)\(/,
    files: ['engine/ring/doorbell.ts'],
    instead: 'engine/ring/doorbell.ts',
  },
] as const

/** What is started by its name, so nobody imports it. */
const ENTRIES = [
  'engine/index.ts',
  'engine/client/index.ts',
  'engine/client/keyv.ts',
  'engine/build.mjs',
  'engine/cli/hearth.cjs',
  'engine/observe/alerts/sender/main.ts',
  'engine/protocol/emit.ts',
  'native-bindings/build.mjs',
  'native-bindings/libpq/index.cjs',
  'bench/run.ts',
  'bench/macro/cache.ts',
  'bench/macro/gate.ts',
  'bench/macro/peers.ts',
  'bench/macro/load.ts',
  'bench/fire/client_process.ts',
  'bench/macro/replicas.ts',
  'test/page_pictures.ts',
  'test/run.ts',
]

const LINES_MAX = 400
/** A test file is a list of cases, and may be longer. */
const TEST_LINES_MAX = 700
/** The formatter holds code to 100 columns; comments have drawings and tables. A ratchet: it is only ever lowered. */
const COMMENT_COLUMNS_MAX = 136
const FORBIDDEN = ['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X']

const CODE = ['.ts', '.mjs', '.cjs'] as const
const shipped = (source: Source): boolean => !/^(test|bench)\//.test(source.path)

/** Fails with the whole list. */
function none(violations: readonly string[], rule: string): void {
  assert.ok(violations.length === 0, `${rule}\n  ${violations.join('\n  ')}\n`)
}

describe('imports', () => {
  test('go only where the table allows', () => {
    const violations: string[] = []
    for (const source of sources(...CODE)
      .filter(shipped)
      .filter(isModule)) {
      for (const { line, target, isType } of importsOf(source)) {
        if (!isOurs(target) || mayImport(source.path, target, isType)) continue
        const kind = isType ? 'know types of' : 'import'
        violations.push(`${source.path}:${line} may not ${kind} ${target}`)
      }
    }
    none(
      violations,
      'The layers are in MAY_IMPORT: go through a neighbour, or hand it in from main.',
    )
  })

  test('of a dependency stand in one file', () => {
    const violations: string[] = []
    for (const source of sources(...CODE)
      .filter(shipped)
      .filter(isModule)) {
      for (const { line, target, isType } of importsOf(source)) {
        if (isType || isOurs(target) || target.startsWith('node:')) continue
        const dependency = /^(@[^/]+\/)?[^/]+/.exec(target)![0]
        const only = ONLY_IMPORTER[dependency]
        if (only === source.path) continue
        violations.push(
          `${source.path}:${line} imports ${dependency}; ${only === undefined ? 'nobody may yet' : `only ${only} may`}`,
        )
      }
    }
    none(violations, 'A new dependency gets a row in ONLY_IMPORTER.')
  })

  test('never reach into tests or benches', () => {
    const violations = sources(...CODE)
      .filter(shipped)
      .flatMap(source =>
        importsOf(source).map(({ line, target }) => ({ place: `${source.path}:${line}`, target })),
      )
      .filter(({ target }) => /^(test|bench)\//.test(target))
    none(
      violations.map(({ place, target }) => `${place} imports ${target}`),
      'Tests import the engine, not the other way.',
    )
  })
})

describe('every source file', () => {
  test('opens with a comment that names Owns, Thread and Holds', () => {
    const violations = sources('.ts', '.cts', '.c', '.h')
      .filter(shipped)
      .filter(({ path }) => !path.endsWith('.d.ts') && !path.endsWith('.d.cts'))
      .flatMap(source => {
        const header = headerOf(source)
        if (header === '') return [`${source.path}:1 does not open with a /** comment`]
        const missing = ['Owns:', 'Thread:', 'Holds:'].filter(word => !header.includes(word))
        return missing.length > 0 ? [`${source.path}:1 does not say ${missing.join(', ')}`] : []
      })
    none(violations, 'A file says first what it owns, who runs it and what it holds true.')
  })

  test(`has at most ${LINES_MAX} lines, or argues in its header under Length:`, () => {
    const violations = sources(...CODE, '.c', '.h')
      .filter(source => source.lines.length > linesMax(source) + 1)
      .filter(source => !/Length:\s+\S/.test(headerOf(source)))
      .map(({ path, lines }) => `${path} has ${lines.length - 1}`)
    none(violations, 'One file, one idea.')
  })

  test(`keeps its comments within ${COMMENT_COLUMNS_MAX} columns`, () => {
    const violations = sources(...CODE, '.c', '.h').flatMap(({ path, lines }) =>
      lines.flatMap((line, i) => {
        const isLong = [...line].length > COMMENT_COLUMNS_MAX && /^\s*(\*|\/\/|\/\*)/.test(line)
        return isLong ? [`${path}:${i + 1} has ${[...line].length}`] : []
      }),
    )
    none(violations, 'Break the line.')
  })

  test('is named in snake_case', () => {
    const violations = sources(...CODE, '.c', '.h')
      .map(({ path }) => path)
      .filter(path => !/^[a-z0-9_]+(\.[a-z0-9_]+)*$/.test(path.split('/').at(-1)!))
    none(violations, 'Lower case, with _ between words.')
  })

  test(`has none of the words ${FORBIDDEN.join(', ')}, and no test that runs alone by mistake`, () => {
    const words = new RegExp(`\\b(${FORBIDDEN.join('|')})\\b|\\b(test|describe|it)\\.only\\(`)
    const violations = sources(...CODE, '.c', '.h').flatMap(({ path, lines }) =>
      lines.flatMap((line, i) => (words.test(line) ? [`${path}:${i + 1} ${line.trim()}`] : [])),
    )
    none(violations, 'Finish it, or open an issue and leave the code without it.')
  })

  test('leaves clocks and sleeping to the files that hold them', () => {
    const violations: string[] = []
    for (const { path, text } of sources('.ts').filter(shipped)) {
      for (const { call, files, instead } of ONLY_CALLER) {
        if ((files as readonly string[]).includes(path)) continue
        withoutComments(text)
          .split('\n')
          .forEach((line, i) => {
            if (call.test(line)) violations.push(`${path}:${i + 1} ${line.trim()} — use ${instead}`)
          })
      }
    }
    none(violations, 'One file calls these.')
  })

  test('is reached from an entry point', () => {
    const alive = reached()
    const violations = sources(...CODE, '.c', '.h')
      .map(({ path }) => path)
      .filter(path => !alive.has(path) && !path.startsWith('bench/rivals/'))
    none(violations, 'Dead files go. What is started by name stands in ENTRIES.')
  })
})

test('every test file is numbered by its layer', () => {
  const violations = sources('.test.ts')
    .map(({ path }) => path)
    .filter(path => !/^test\/\d\d(\.[a-z0-9_]+)+\.test\.ts$/.test(path))
  none(violations, 'NN.noun.behaviour.test.ts')
})

test('generated files are fresh', () => {
  assert.equal(emitted(), render(), 'engine/protocol/PROTOCOL.md is stale: run `npm run emit`')
  assert.equal(
    readSource('README.md').text,
    renderReadme(),
    'README.md is stale: run `npm run emit`',
  )
  for (const [file, text] of Object.entries(renderRules()))
    assert.equal(readFileSync(file, 'utf8'), text, `${file} is stale: run \`npm run emit\``)
})

function linesMax({ path }: Source): number {
  return path.endsWith('.test.ts') ? TEST_LINES_MAX : LINES_MAX
}

/** Scripts that build things are no part of the engine. */
function isModule({ path }: Source): boolean {
  return !path.endsWith('/build.mjs')
}

function isOurs(target: string): boolean {
  return /^(engine|workers|native-bindings|bench|test)\//.test(target) || exists(target)
}

function mayImport(path: string, target: string, isType: boolean): boolean {
  if ((LEAVES as readonly string[]).includes(target)) return true
  const zone = zoneOf(path)
  const isSameFolder = !isRootFile(path) && folderOf(target) === folderOf(path)
  if (
    isSameFolder ||
    (zone !== undefined &&
      !isRootFile(path) &&
      target.startsWith(`${zone}/`) &&
      !isNarrower(target, zone))
  ) {
    return true
  }
  const rule = zone === undefined ? undefined : MAY_IMPORT[zone]
  const allowed = [...(rule?.values ?? []), ...(isType ? (rule?.types ?? []) : [])]
  return allowed.some(each => target === each || target.startsWith(`${each}/`))
}

/** The longest row of MAY_IMPORT that the path falls under. */
function zoneOf(path: string): string | undefined {
  return Object.keys(MAY_IMPORT)
    .filter(zone => path === zone || path.startsWith(`${zone}/`))
    .toSorted((a, b) => b.length - a.length)[0]
}

/** Whether another row, below this zone, holds for the target. */
function isNarrower(target: string, zone: string): boolean {
  return zoneOf(target) !== zone
}

/** Files right under engine/ are no folder's neighbours: each has a row, or is a leaf. */
function isRootFile(path: string): boolean {
  return folderOf(path) === 'engine'
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'))
}

/** All that the entries name or import, and what those do, and so on. */
function reached(): Set<string> {
  const tests = sources('.test.ts', '.bench.ts').map(({ path }) => path)
  const waiting = [...ENTRIES.filter(exists), ...tests]
  const found = new Set(waiting)
  // binding.gyp and build.mjs compile every C file of the folder.
  for (const { path } of sources('.c'))
    if (path.startsWith('native-bindings/src/')) waiting.push(path)
  for (const path of waiting) {
    found.add(path)
    const source = readSource(path)
    const included = [...source.text.matchAll(/^#include "([^"]+)"/gm)].map(
      match => `${folderOf(path)}/${match[1]}`,
    )
    for (const target of [
      ...importsOf(source).map(each => each.target),
      ...namedIn(source),
      ...included,
    ]) {
      if (found.has(target) || !exists(target) || !/\.\w+$/.test(target)) continue
      found.add(target)
      waiting.push(target)
    }
    const types = path.replace(/\.cjs$/, '.d.cts')
    if (types !== path && exists(types)) found.add(types)
  }
  // Declarations for a package are read by the compiler alone.
  for (const { path } of sources('.d.ts')) found.add(path)
  return found
}
