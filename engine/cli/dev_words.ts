/** Dev words: what `hearth dev` says once it is ready.
 *  Owns:   that text.   Thread: main.
 *  Holds:  the commands work as they stand when they are pasted in this folder. */

import { existsSync } from 'node:fs'
import { relative } from 'node:path'
import type { DevEngine } from '../dev/dev_engine.ts'
import { SAMPLE_ROWS_COUNT } from '../dev/sample_data.ts'
import { PACKAGE_ROOT } from '../paths.ts'
import { styled } from './output.ts'
import { count } from './table.ts'

export function welcome(engine: DevEngine, answerCount: number): string {
  const command = commandHere()
  const title = (text: string) => styled('bold', text)
  const page = engine.pageUrl === undefined ? '' : `\n${title('page')}      ${engine.pageUrl}`
  const postgres =
    relative(engine.stateDir, engine.postgresDir) === 'postgres'
      ? ''
      : `\n${title('Postgres')}  keeps its data in ${engine.postgresDir}, which its user can reach`
  const replicas =
    engine.replicaCount === 0
      ? ''
      : `\n${title('replicas')}  ${engine.replicaCount}; they take most reads. How they are: ${command} health`
  return `
${title('Hearth runs.')} Its state is in .hearth, with ${count(SAMPLE_ROWS_COUNT)} readings of a real house. Ctrl-C stops it.
${title('socket')}    ${engine.socket}${page}${postgres}${replicas}
${title('try')}       in another terminal, in this folder:
            ${command} get dashboard:latest
            ${command} query "select sensor, max(value) from readings group by sensor"
            ${command} stats
          in programs of yours: export HEARTH_SOCKET=${quoted(engine.socket)}

A pretend home service is asking. There are ${count(answerCount)} answers, more than memory has room for: those asked
for often come from memory, others from SQLite, and new ones from Postgres.
`
}

/** npx would offer to fetch a stranger's package where this one is not installed. */
function commandHere(): string {
  const isOurs = process.cwd() === PACKAGE_ROOT || existsSync('node_modules/.bin/hearth')
  return isOurs ? 'npx hearth' : 'hearth'
}

function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`
}
