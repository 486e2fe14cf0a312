/** migrate_target: which database and which folder a line of `hearth migrate` means, and with what limits.
 *  Owns:   nothing.   Not here: connecting (migrate/direct_connection.ts).   Thread: main.
 *  Holds:  (1) the configuration is read as the engine reads it; no engine need run.  (2) where `hearth dev` runs in this folder, and
 *          nothing else is configured, its Postgres is meant.  (3) no url is printed. */

import { existsSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { loadConfig } from '../config/load.ts'
import { MAIN_DATABASE } from '../config/schema.ts'
import { socketPlace } from '../dev/postgres_places.ts'
import { HearthError } from '../errors.ts'
import type { Settings } from '../migrate/runner.ts'
import { DEV_SOCKET } from './client.ts'
import { durationOption, type Input } from './input.ts'

export interface Target {
  readonly name: string
  /** Undefined: none is configured. */
  readonly url: string | undefined
  /** Names under which the engine may know the same database. */
  readonly names: readonly string[]
  readonly settings: Settings
}

/** Throws BAD_REQUEST for a mistake in the configuration. */
export function targetOf(input: Input): Target {
  const { config, file } = loadConfig({ file: input.options['config'] })
  const name = input.options['db'] ?? MAIN_DATABASE
  const { dir, lockTimeoutMs, statementTimeoutMs, waitMs, lockRetries, lockRetryPauseMs } =
    config.migrate
  const { bigTableRows, lint } = config.migrate
  const beside = join(file === undefined ? process.cwd() : dirname(file), 'migrations')
  const asked = input.options['dir']
  const configured = config.postgres[name]
  const url = configured?.migrateUrl ?? configured?.url ?? devUrl(name)
  const names = Object.entries(config.postgres)
    .filter(([, database]) => database.url === configured?.url)
    .map(([each]) => each)
  return {
    name,
    url,
    names: names.length === 0 ? [name] : names,
    settings: {
      folder: shortPath(asked === undefined ? (dir ?? beside) : resolve(asked)),
      lockTimeoutMs,
      statementTimeoutMs,
      waitMs: durationOption(input, 'wait', 1_000) ?? waitMs,
      lockRetries,
      lockRetryPauseMs,
      bigTableRows,
      lint,
    },
  }
}

/** Throws NOT_CONFIGURED without one. */
export function urlOf({ name, url }: Target): string {
  if (url !== undefined) return url
  throw new HearthError(
    'NOT_CONFIGURED',
    `there is no database "${name}"; set postgres.${name}.url${name === MAIN_DATABASE ? ', or HEARTH_POSTGRES_URL' : ''}`,
  )
}

/** As people would write it from here. */
export function shortPath(path: string): string {
  const short = relative(process.cwd(), path)
  return short.startsWith('..') ? path : short || '.'
}

function devUrl(name: string): string | undefined {
  if (name !== MAIN_DATABASE) return undefined
  const host = socketPlace(resolve(dirname(DEV_SOCKET), 'postgres'), DEV_PORT)
  if (!existsSync(join(host, `.s.PGSQL.${DEV_PORT}`))) return undefined
  return `postgresql://postgres@/postgres?host=${encodeURIComponent(host)}&port=${DEV_PORT}`
}

const DEV_PORT = 5432
