/** Nearest: the valid name that someone who wrote an invalid one most likely meant.
 *  Owns:   the edit distance and the weighing of dotted keys.   Thread: any.
 *  Holds:  the work is bounded by NAME_CHARS_MAX², whatever stands in the file. */

const NAME_CHARS_MAX = 64

/** The closest of `candidates`, undefined only when there are none. Compares dotted keys by their
 *  last part first, so that a right key in the wrong section finds its section. */
export function nearest(found: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined
  let bestCost = Number.POSITIVE_INFINITY
  for (const candidate of candidates) {
    const cost = costBetween(found, candidate)
    if (cost >= bestCost) continue
    best = candidate
    bestCost = cost
  }
  return best
}

function costBetween(found: string, candidate: string): number {
  const [foundSection, foundLeaf] = splitKey(found)
  const [section, leaf] = splitKey(candidate)
  return editDistance(foundLeaf, leaf) + editDistance(foundSection, section) / 2
}

function splitKey(key: string): [section: string, leaf: string] {
  const dotAt = key.lastIndexOf('.')
  return [key.slice(0, Math.max(dotAt, 0)), key.slice(dotAt + 1)]
}

/** Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment), case
 *  apart. */
export function editDistance(left: string, right: string): number {
  const a = left.toLowerCase().slice(0, NAME_CHARS_MAX)
  const b = right.toLowerCase().slice(0, NAME_CHARS_MAX)
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1]
      let cost = Math.min(
        last[column]! + 1,
        current[column - 1]! + 1,
        last[column - 1]! + (same ? 0 : 1),
      )
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        cost = Math.min(cost, beforeLast[column - 2]! + 1)
      }
      current.push(cost)
    }
    beforeLast = last
    last = current
  }
  return last[b.length]!
}
