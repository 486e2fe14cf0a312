/** Load: the configuration in force, from defaults, file, environment and options, each winning
 *  over the last.
 *  Owns:   the order of the sources.   Not here: what a source looks like (*_source.ts), what a key
 *          means (schema.ts).
 *  Thread: main, at start and on SIGHUP; reads one file synchronously.
 *  Holds:  a Config that is returned satisfies the schema and all relations; otherwise nothing is
 *          returned. */

import { type Config, type ConfigOverrides, nestConfig } from './config.ts'
import { DEFAULT_ORIGIN, Draft, type Origin } from './draft.ts'
import { readEnvironmentInto } from './environment_source.ts'
import { findConfigFile, readFileInto } from './file_source.ts'
import { PATTERNS, type Path, partFromCode } from './keys.ts'
import { checkRelations } from './relations.ts'
import type { Row } from './schema.ts'
import type { Environment } from './socket_path.ts'

export interface LoadOptions {
  /** From `--config`; must exist. */
  readonly file?: string | undefined
  readonly env?: Environment
  readonly cwd?: string
  /** Wins over everything: options of createEngine and of `hearth dev`, in milliseconds and
   *  bytes. */
  readonly overrides?: ConfigOverrides
}

export interface LoadedConfig {
  readonly config: Config
  /** By key, for every key that has a value. */
  readonly origins: Readonly<Record<string, Origin>>
  readonly warnings: readonly string[]
  /** The file that was read, if any. */
  readonly file: string | undefined
}

/** Throws HearthError BAD_REQUEST that lists every problem with its place, what was found and what
 *  was expected. */
export function loadConfig(options: LoadOptions = {}): LoadedConfig {
  const { env = process.env, cwd = process.cwd(), overrides = {} } = options
  const draft = new Draft()
  const file = findConfigFile(options.file, env, cwd)
  if (file !== undefined) readFileInto(draft, file)
  readEnvironmentInto(draft, env, cwd)
  readOverridesInto(draft, overrides, cwd)
  fillDefaults(draft, env)
  checkRelations(draft)
  draft.throwProblems()

  const settings = [...draft.settings]
  return {
    config: nestConfig(new Map(settings.map(([key, { value }]) => [key, value]))),
    origins: Object.fromEntries(settings.map(([key, { origin }]) => [key, origin])),
    warnings: draft.warnings,
    file: file?.path,
  }
}

function readOverridesInto(draft: Draft, overrides: ConfigOverrides, cwd: string): void {
  const origin: Origin = { from: 'override', where: 'option' }
  const locate = (parent: Path, name: string) => ({
    path: [...parent, partFromCode(parent, name)],
    origin,
  })
  draft.setAll(overrides, [], locate, { source: 'override', baseDir: cwd })
}

/** Also a key whose value was refused gets its default: the load fails anyway, but the relations
 *  can be checked. */
function fillDefaults(draft: Draft, env: Environment): void {
  for (const { key, row } of PATTERNS) {
    const names = row.named ? Object.keys(row.named) : draft.namesIn(key)
    for (const name of names)
      fillDefault(draft, key.replace('*', name), row, row.named?.[name], env)
  }
}

function fillDefault(
  draft: Draft,
  key: string,
  row: Row,
  named: string | undefined,
  env: Environment,
): void {
  if (draft.settings.has(key)) return
  const stateDir = draft.settings.get('engine.state_dir')?.value as string | undefined
  const raw = named ?? row.default ?? row.computed?.(env, stateDir)
  if (raw === undefined) return
  draft.set(key.split('.'), raw, DEFAULT_ORIGIN, { source: 'file', baseDir: '/' })
}
