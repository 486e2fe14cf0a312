/** cpu: how busy a server's host is, by what its kernel counts.
 *  Owns:   the last count.   Not here: asking for it (observation.ts).
 *  Thread: postgres worker.
 *  Holds:  a share is of the time between two counts, MEASURE_MS_MIN apart at least; undefined where the host does not tell. */

const MEASURE_MS_MIN = 200

interface Count {
  readonly busy: number
  readonly total: number
  readonly atMs: number
}

export class Cpu {
  /** 0 to 1, of all processors together; undefined: not known. */
  share: number | undefined
  private last: Count | undefined

  /** `text`: the first line of /proc/stat, and whatever follows; '' where it cannot be had. */
  note(text: string, atMs: number): void {
    const count = countOf(text, atMs)
    const { last } = this
    if (count === undefined) return this.forget()
    if (last === undefined || count.total < last.total) {
      this.last = count
      return
    }
    if (atMs - last.atMs < MEASURE_MS_MIN || count.total === last.total) return
    this.share = (count.busy - last.busy) / (count.total - last.total)
    this.last = count
  }

  private forget(): void {
    this.share = undefined
    this.last = undefined
  }
}

/** user nice system idle iowait irq softirq steal …: idle is idle, and so is waiting for a disk. */
function countOf(text: string, atMs: number): Count | undefined {
  const found = /^cpu((?: +\d+){8})/.exec(text)
  if (found === null) return undefined
  const times = found[1]!.trim().split(/ +/).map(Number)
  const total = times.reduce((sum, time) => sum + time, 0)
  return { busy: total - times[3]! - times[4]!, total, atMs }
}
