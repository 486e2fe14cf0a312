/** ServerChoice: which replica takes a read.
 *  Owns:   nothing; it looks at the servers.   Not here: what makes one unfit (topology.ts, health_check.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) a replica that is not up, lags, or is behind the client's floor is never chosen for a read.  (2) slow statements
 *          make a server less wanted, never unfit.
 *
 *  Two of the fit ones are drawn, and the better takes it: by what an answer took lately, times what it has open, over its weight.
 *  Drawing two instead of taking the best of all keeps many engines from rushing to the same one, and costs less. */

import type { Server } from './server.ts'

export interface Candidate {
  readonly server: Server
}

/** A host that is busier gets a fraction of what it would have had, as long as others are less busy. */
export const CPU_SHARE_MAX = 0.8
const CPU_STRAIN = 8
/** Quicker than this is quick: among such servers what they have open decides, and else chance. */
const LATENCY_MS_MIN = 1
/** A latency that nothing has confirmed for so long counts half: a server that was slow is tried again. */
const FORGET_MS = 250

export class ServerChoice {
  private readonly fit: Server[] = []
  private readonly lagMsMax: number

  constructor(lagMsMax: number) {
    this.lagMsMax = lagMsMax
  }

  /** A fit replica, or undefined: there is none. `isBehind` tells whether one would be fit but for the floor. */
  replica(
    candidates: readonly Candidate[],
    floor: number,
    nowMs: number,
    except: Server | undefined,
  ): Server | undefined {
    const { fit } = this
    fit.length = 0
    this.isBehind = false
    for (const { server } of candidates) {
      if (server === except || !this.isFit(server)) continue
      if (!server.admission.admits('reads', nowMs)) continue
      if (server.seen!.lsn < floor) this.isBehind = true
      else fit.push(server)
    }
    if (fit.length < 2) return fit[0]
    const first = Math.floor(Math.random() * fit.length)
    const second = (first + 1 + Math.floor(Math.random() * (fit.length - 1))) % fit.length
    const [a, b] = [fit[first]!, fit[second]!]
    return cost(a, nowMs) <= cost(b, nowMs) ? a : b
  }

  /** Whether one server would answer sooner than another, by what is known of both. */
  isQuicker(some: Server, other: Server, nowMs: number): boolean {
    return cost(some, nowMs) < cost(other, nowMs)
  }

  /** Some replica was left out for the floor alone. */
  isBehind = false

  isFit(server: Server): boolean {
    return answersReads(server) && server.lagMs <= this.lagMsMax
  }

  /** When none is fit: the one that still answers, has what its client wrote, and is the least behind. */
  leastBad(
    candidates: readonly Candidate[],
    floor: number,
    except: Server | undefined,
  ): Server | undefined {
    let best: Server | undefined
    for (const { server } of candidates) {
      if (server === except || !answersReads(server)) continue
      if (server.seen!.lsn < floor) continue
      if (best === undefined || server.lagMs < best.lagMs) best = server
    }
    return best
  }
}

/** Also one that lags; what it says is old then, and not wrong. */
function answersReads({ state, isStandby, isAstray }: Server): boolean {
  return state === 'up' && isStandby && !isAstray
}

function cost(server: Server, nowMs: number): number {
  const { open, latencyMs, weight } = server
  const silentMs = nowMs - server.lastEndMs
  // One that has something open and says nothing is at least as slow as that; one that had nothing to do may be quick again.
  const expectedMs =
    open > 0
      ? Math.max(latencyMs, silentMs)
      : latencyMs / 2 ** Math.min(Math.floor(silentMs / FORGET_MS), 20)
  const strain = (server.cpu.share ?? 0) >= CPU_SHARE_MAX ? CPU_STRAIN : 1
  return (Math.max(expectedMs, LATENCY_MS_MIN) * (open + 1) * strain) / weight
}
