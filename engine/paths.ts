/** paths: where the package's own files lie, run from source (.ts) or from the bundles in dist/.
 *  Owns:   nothing.   Thread: any.   Holds: import.meta.dirname is the only clue used; the build maps it to __dirname in CJS. */

import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'

const here = import.meta.dirname
const fromSource = !existsSync(join(here, 'worker.cjs'))

/** The package's root: the folder of package.json. */
export const PACKAGE_ROOT = dirname(here)

/** What Piscina runs in each worker thread. */
export const WORKER_ENTRY = fromSource
  ? join(PACKAGE_ROOT, 'workers', 'entry.ts')
  : join(here, 'worker.cjs')
