/** postgres_template: a cluster as initdb leaves it, made once a run of the tests and copied by whoever wants a server.
 *  Owns:   the template's folder, which goes when its maker's process does, however that ends.   Thread: main of the tests' process.
 *  Holds:  (1) without a template a server makes its own cluster, so that a test file runs on its own too.  (2) a template was
 *          stopped in order, and is never written again. */

import { execFile } from 'node:child_process'
import { chmodSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { startPostgres } from '../../engine/dev/embedded_postgres.ts'

/** Where the template is; processes started by one that made it know it from here. */
const VARIABLE = 'HEARTH_TEST_CLUSTER'

/** Makes the template for this process and those that it starts. */
export async function makeTemplate(): Promise<void> {
  const folder = temporaryFolder()
  const dataDir = join(folder, 'data')
  const server = await startPostgres({ dataDir, settings: { fsync: 'off' }, removeOnDeath: folder })
  await server.stop()
  process.env[VARIABLE] = dataDir
}

/** Copies the template to `dataDir`, which is not there yet; does nothing without one. */
export async function copyTemplate(dataDir: string): Promise<void> {
  const template = process.env[VARIABLE]
  if (template !== undefined) await promisify(execFile)('cp', ['-a', template, dataDir])
}

/** A folder that the server's user can reach: as root that is another user. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-pg-'))
  if (process.getuid?.() === 0) chmodSync(folder, 0o711)
  return folder
}
