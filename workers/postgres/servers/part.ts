/** part: the code that only databases with replicas need, loaded before the first of them is opened.
 *  Owns:   the loaded modules.   Thread: postgres worker.
 *  Holds:  a worker whose databases are single servers never has it in its memory. */

import { assert } from '../../../engine/assert.ts'

export type ClusterPart = typeof import('./cluster.ts') & typeof import('./held.ts')

let part: ClusterPart | undefined

/** Rejects when the part is missing beside the program. */
export async function loadClusterPart(): Promise<void> {
  part ??= await import('./with_replicas.ts')
}

export function clusterPart(): ClusterPart {
  assert(part !== undefined, 'loadClusterPart() comes before a database with replicas')
  return part
}
