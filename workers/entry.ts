/** entry: what Piscina runs in each worker: opens the kinds it is told to host, then feeds them until told to stop.
 *  Owns:   nothing.   Thread: one worker.
 *  Holds:  a kind that it does not host is not even loaded. */

import type { WorkerTask } from '../engine/pool/worker_task.ts'
import { type Hosted, serveRings } from './loop.ts'

export default async function run(task: WorkerTask): Promise<void> {
  const { kinds, rings } = task
  const hosted: Hosted[] = []
  if (kinds.sqlite !== undefined) {
    const { createSqliteHandler } = await import('./sqlite/ops.ts')
    hosted.push({ kind: 'sqlite', handler: createSqliteHandler(kinds.sqlite) })
  }
  if (kinds.postgres !== undefined) {
    const { createPostgresHandler, loadPostgresParts } = await import('./postgres/ops.ts')
    await loadPostgresParts(kinds.postgres)
    hosted.push({ kind: 'postgres', handler: createPostgresHandler(kinds.postgres) })
  }
  await Promise.all(hosted.map(({ handler }) => handler.ready?.()))
  // Only SQLite never waits for an event, so only a thread of its own may block.
  await serveRings(rings, hosted, kinds.postgres === undefined)
}
