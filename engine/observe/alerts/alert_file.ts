/** AlertFile: what fires, what was sent and what is still to be, in the state folder: a restart sends nothing twice and
 *  forgets nothing.
 *  Owns:   alerts.json.   Not here: what it means (alerts.ts).
 *  Thread: main.
 *  Holds:  (1) the file is whole or absent: it is written beside itself and renamed.  (2) one write at a time; what comes meanwhile
 *          is written after it, once.  (3) a file that cannot be read is as none; one that cannot be written is logged once. */

import { readFileSync, rename, writeFile } from 'node:fs'
import { join } from 'node:path'
import type { AlertFigures } from '../../figures.ts'
import { log } from '../../log.ts'
import type { QueuedMessage } from './message.ts'

export interface KeptAlert {
  readonly name: string
  readonly subject: string
  /** 0: it was not sent. */
  readonly sentMs: number
  readonly sinceMs: number
  readonly value: number | null
}

export interface KeptAlerts {
  readonly alerts: KeptAlert[]
  readonly sentMs: number[]
  readonly recent: AlertFigures[]
  readonly queued: QueuedMessage[]
}

const SENT_COUNT_MAX = 10_000

export class AlertFile {
  private readonly path: string
  private waiting: string | undefined
  private writing: Promise<void> | undefined
  private hasFailed = false

  constructor(stateDir: string) {
    this.path = join(stateDir, 'alerts.json')
  }

  read(): KeptAlerts {
    try {
      const found = JSON.parse(readFileSync(this.path, 'utf8')) as Partial<KeptAlerts>
      return {
        alerts: listIn(found.alerts).filter(isKept),
        sentMs: listIn(found.sentMs).filter(Number.isFinite).slice(-SENT_COUNT_MAX),
        recent: listIn(found.recent).filter(each => typeof each?.alert === 'string'),
        queued: listIn(found.queued).filter(each => typeof each?.message?.id === 'string'),
      }
    } catch {
      return { alerts: [], sentMs: [], recent: [], queued: [] }
    }
  }

  write(kept: KeptAlerts): void {
    this.waiting = JSON.stringify(kept)
    this.writing ??= this.writeAll()
  }

  /** Writes for the last time, and resolves when it stands. */
  async close(kept: KeptAlerts): Promise<void> {
    this.write(kept)
    await this.writing
  }

  private async writeAll(): Promise<void> {
    while (this.waiting !== undefined) {
      const text = this.waiting
      this.waiting = undefined
      const error = await replaceFile(this.path, text)
      if (error !== null && !this.hasFailed)
        log('warn', 'what alerts were sent cannot be kept', {
          file: this.path,
          error: error.message,
        })
      this.hasFailed = error !== null
    }
    this.writing = undefined
  }
}

function replaceFile(path: string, text: string): Promise<Error | null> {
  const beside = `${path}.new`
  return new Promise(resolve =>
    writeFile(beside, text, { mode: 0o600 }, error => {
      if (error !== null) resolve(error)
      else rename(beside, path, resolve)
    }),
  )
}

function listIn<Item>(found: Item[] | undefined): Item[] {
  return Array.isArray(found) ? found : []
}

function isKept(each: KeptAlert | null): each is KeptAlert {
  if (each === null || typeof each !== 'object') return false
  const { name, subject, sentMs, sinceMs } = each
  return typeof name === 'string' && typeof subject === 'string' && sentMs >= 0 && sinceMs >= 0
}
