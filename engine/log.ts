/** log: one JSON line a happening, on stderr, where journald or a terminal takes it up.
 *  Owns:   the level.   Thread: any; each worker has its own level.
 *  Holds:  never throws, never keeps a buffer; no value that may hold a secret is passed in.
 *
 *  fs.writeSync instead of console or a library: a console stream costs 1 MB of memory in each thread. */

import { writeSync } from 'node:fs'
import { wallMs } from './clock.ts'

export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

let level: LogLevel = 'info'

export function setLogLevel(next: LogLevel): void {
  level = next
}

export function log(at: LogLevel, message: string, fields: Record<string, unknown> = {}): void {
  if (LOG_LEVELS.indexOf(at) > LOG_LEVELS.indexOf(level)) return
  const line = JSON.stringify({
    time: new Date(wallMs()).toISOString(),
    level: at,
    message,
    ...fields,
  })
  try {
    writeSync(2, line + '\n')
  } catch {
    // A closed or full stderr is no reason to stop serving.
  }
}
