/** Utilization: says so, once, when a database's connections are nearly all taken for more than a moment.
 *  Owns:   one timer a database, and whether it has been said.   Thread: postgres worker.
 *  Holds:  one line when it begins, one when it is over; a peak of a second or two is no news. */

import { log } from '../../engine/log.ts'

export const UTILIZATION_WARN = 0.8
const UTILIZATION_CALM = 0.7
const LOOK_MS = 1_000
const LOOK_COUNT = 3

export class UtilizationWatch {
  private readonly name: string
  private readonly read: () => number
  private readonly timer: NodeJS.Timeout
  private highCount = 0
  isHigh = false

  constructor(name: string, read: () => number, lookMs = LOOK_MS) {
    this.name = name
    this.read = read
    this.timer = setInterval(() => this.look(), lookMs).unref()
  }

  close(): void {
    clearInterval(this.timer)
  }

  private look(): void {
    const share = this.read()
    this.highCount = share >= UTILIZATION_WARN ? this.highCount + 1 : 0
    const percent = `${Math.round(share * 100)} %`
    if (!this.isHigh && this.highCount >= LOOK_COUNT) {
      this.isHigh = true
      log('warn', `${percent} of the connections to database "${this.name}" are in use`, {
        database: this.name,
        hint: `raise postgres.${this.name}.pool.size, or look for slow statements and long transactions`,
      })
    } else if (this.isHigh && share < UTILIZATION_CALM) {
      this.isHigh = false
      log('info', `${percent} of the connections to database "${this.name}" are in use again`, {
        database: this.name,
      })
    }
  }
}
