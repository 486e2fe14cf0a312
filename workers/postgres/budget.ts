/** Budget: how many connections one database may have, shared and exclusive together.
 *  Owns:   the counts.   Not here: opening and closing (shared_pool.ts, pool.ts).
 *  Thread: postgres worker.
 *  Holds:  shared and exclusive connections together are at most `size`, but for one lane that there always may be, and the
 *          exclusive pool's own overflow. */

export class Budget {
  readonly size: number
  /** Those being opened included, as with the others. */
  lanes = 0
  exclusive = 0
  /** Requests wait for an exclusive connection: no more lanes for now. */
  isExclusiveWanted = false
  /** Somebody waits for an exclusive connection, and lanes have all the room. */
  onWanted: () => void = () => {}
  /** A lane is wanted, and exclusive connections have all the room. */
  onLaneWanted: () => void = () => {}
  /** A lane was closed: there may be room for who waits. */
  onRoom: () => void = () => {}

  constructor(size: number) {
    this.size = size
  }

  hasRoomForLane(laneCount: number): boolean {
    if (laneCount === 0) return true
    return !this.isExclusiveWanted && laneCount + this.exclusive < this.size
  }

  hasRoomForExclusive(exclusiveCount: number): boolean {
    return exclusiveCount + this.lanes < this.size
  }

  /** So many lanes there are now, those being opened included. */
  noteLanes(laneCount: number): void {
    const isFewer = laneCount < this.lanes
    this.lanes = laneCount
    if (isFewer && this.isExclusiveWanted) this.onRoom()
  }
}
