/** with_replicas: what is in that part.
 *  Owns:   nothing.   Thread: postgres worker.   Holds:  loaded by part.ts alone. */

export * from './cluster.ts'
export * from './held.ts'
