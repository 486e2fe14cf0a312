/** LaneChoice: which lane takes a statement, which is kept free for one that needs it alone, and whether there are enough.
 *  Owns:   nothing; it looks at the pool's list.   Not here: opening and closing (shared_pool.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) a short statement goes where the least is in flight, never to a lane that is kept for another.  (2) of two lanes
 *          or more one is left for short statements while such wait. */

import { LANE_DEPTH_MAX, type Lane } from './lane.ts'

/** Another lane is opened when each has so many in flight: few full lanes send more at a time (bench/micro/pipeline.bench.ts). */
const GROW_DEPTH = 24

export class LaneChoice {
  private readonly lanes: readonly Lane[]
  private readonly restMsMax: number
  private readonly tryOut: (lane: Lane, nowMs: number) => void

  /** A lane that was idle for longer than `restMsMax` is not chosen but given to `tryOut`, and is back when that is over. */
  constructor(
    lanes: readonly Lane[],
    restMsMax: number,
    tryOut: (lane: Lane, nowMs: number) => void,
  ) {
    this.lanes = lanes
    this.restMsMax = restMsMax
    this.tryOut = tryOut
  }

  /** The lane with the least in flight that takes short statements, or none now. */
  forShort(nowMs: number): Lane | undefined {
    let best: Lane | undefined
    let bestScore = LANE_DEPTH_MAX
    for (const lane of this.lanes) {
      if (lane.purpose !== 'shared' || !lane.isReady) continue
      const { inflight } = lane
      if (inflight === 0 && this.hasRestedLong(lane, nowMs)) continue
      const score = lane.isSlow ? inflight + (LANE_DEPTH_MAX >> 1) : inflight
      if (score < bestScore) {
        bestScore = score
        best = lane
      }
    }
    return best
  }

  /** A lane with nothing in flight, for a statement that is to be alone, or none now. */
  empty(nowMs: number): Lane | undefined {
    for (let i = this.lanes.length - 1; i >= 0; i--) {
      const lane = this.lanes[i]!
      if (lane.inflight > 0 || !lane.isReady) continue
      if (lane.purpose !== 'shared' && lane.purpose !== 'reserved') continue
      if (!this.hasRestedLong(lane, nowMs)) return lane
    }
  }

  /** Keeps a lane from being filled, for the statement that waits for an empty one. */
  reserve(doShortWait: boolean): void {
    if (this.lanes.some(lane => lane.purpose === 'reserved')) return
    const shared = this.lanes.filter(lane => lane.purpose === 'shared')
    if (shared.length <= 1 && doShortWait) return
    const lane = leastLoaded(shared)
    if (lane !== undefined) lane.purpose = 'reserved'
  }

  /** One that others of the database may have instead, if it is not the last and none is leaving already. */
  spare(): Lane | undefined {
    if (this.lanes.length < 2 || this.lanes.some(lane => lane.purpose === 'leaving'))
      return undefined
    return leastLoaded(this.lanes.filter(lane => lane.purpose === 'shared'))
  }

  /** Whether the lanes that are there, and `coming` more on their way, are not enough for those in flight and waiting. */
  isFull(coming: number, waiting: number): boolean {
    if (waiting > coming * GROW_DEPTH) return true
    if (coming > 0) return false
    for (const lane of this.lanes)
      if (lane.purpose === 'shared' && lane.inflight < GROW_DEPTH && !lane.isSlow) return false
    return this.lanes.length > 0
  }

  private hasRestedLong(lane: Lane, nowMs: number): boolean {
    if (nowMs - lane.idleSinceMs <= this.restMsMax) return false
    this.tryOut(lane, nowMs)
    return true
  }
}

function leastLoaded(lanes: readonly Lane[]): Lane | undefined {
  let best: Lane | undefined
  for (const lane of lanes) if (best === undefined || lane.inflight < best.inflight) best = lane
  return best
}
