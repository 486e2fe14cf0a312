/** sources: the project's files as the tidy test sees them: paths, text, imports.
 *  Owns:   nothing; reads the tree once.   Thread: main of a test process.
 *  Holds:  files that git ignores are not there. Paths are relative to the root, with forward slashes. */

import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'

const root = join(import.meta.dirname, '../..')

export interface Source {
  readonly path: string
  readonly text: string
  readonly lines: readonly string[]
}

export interface Import {
  readonly line: number
  /** A path from the root for a relative import, else the specifier as it stands. */
  readonly target: string
  /** Nothing of it is left at run time. */
  readonly isType: boolean
}

const FOLDERS = ['engine', 'workers', 'native-bindings', 'bench', 'test']
const IGNORED = /(^|\/)(node_modules|dist|build|prebuilds|results)\//

let all: readonly Source[] | undefined

/** Every file of the source folders with one of these endings. */
export function sources(...endings: string[]): readonly Source[] {
  all ??= paths().map(readSource)
  return all.filter(({ path }) => endings.some(ending => path.endsWith(ending)))
}

export function readSource(path: string): Source {
  const text = readFileSync(join(root, path), 'utf8')
  return { path, text, lines: text.split('\n') }
}

export function exists(path: string): boolean {
  return existsSync(join(root, path))
}

/** The comment that a file opens with, without a shebang or 'use strict' before it; empty when it opens otherwise. */
export function headerOf({ text }: Source): string {
  const found = /^(?:#!.*\n)?(?:'use strict'\n)?(\/\*\*[\s\S]*?\*\/)/.exec(text)
  return found?.[1] ?? ''
}

export function importsOf(source: Source): Import[] {
  const code = withoutComments(source.text)
  const found: Import[] = []
  for (const match of code.matchAll(/^(?:import|export)\s+([^'";]*?)\s*from\s+'([^']+)'/gm)) {
    found.push({
      line: lineOf(code, match.index),
      target: resolved(source, match[2]!),
      isType: isType(match[1]!),
    })
  }
  for (const match of code.matchAll(/^import\s+'([^']+)'|\b(?:import|require)\(\s*'([^']+)'/gm)) {
    const target = resolved(source, match[1] ?? match[2]!)
    found.push({ line: lineOf(code, match.index), target, isType: false })
  }
  return found
}

/** Files that a text names: relative to its own folder, or from the root. */
export function namedIn(source: Source): string[] {
  const code = withoutComments(source.text)
  const names = [
    ...code.matchAll(/['"`]([\w@./-]+\.(?:c?ts|m?ts|[cm]?js|c|h|html|css))['"`]/g),
  ].map(match => match[1]!)
  return names
    .flatMap(name => [posix.join(dirname(source.path), name), posix.normalize(name)])
    .filter(exists)
}

/** Comments blanked out, line breaks kept, so that places stay. */
export function withoutComments(text: string): string {
  return text.replace(
    /('(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`)|\/\*[\s\S]*?\*\/|\/\/.*/g,
    (whole, string) => (string === undefined ? whole.replace(/[^\n]/g, ' ') : whole),
  )
}

function paths(): string[] {
  try {
    const listed = execFileSync(
      'git',
      ['ls-files', '-co', '--exclude-standard', '--', ...FOLDERS],
      {
        cwd: root,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    )
    return listed.split('\n').filter(path => path !== '' && exists(path) && !IGNORED.test(path))
  } catch {
    // A tarball has no git.
    return FOLDERS.filter(exists).flatMap(folder =>
      readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
        .filter(entry => entry.isFile())
        .map(entry => posix.join(entry.parentPath.slice(root.length + 1), entry.name))
        .filter(path => !IGNORED.test(path)),
    )
  }
}

function resolved(source: Source, specifier: string): string {
  return specifier.startsWith('.') ? posix.join(dirname(source.path), specifier) : specifier
}

function lineOf(code: string, index: number): number {
  return code.slice(0, index).split('\n').length
}

/** `type X`, or braces in which every name is a type. */
function isType(clause: string): boolean {
  if (/^type\s/.test(clause)) return true
  const names = /^\{([\s\S]*)\}$/.exec(clause.trim())?.[1]
  if (names === undefined) return false
  return names
    .split(',')
    .map(name => name.trim())
    .filter(name => name !== '')
    .every(name => name.startsWith('type '))
}
