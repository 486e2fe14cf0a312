/** newest_libpq: tests run on the libpq that an engine takes for a database on this host.
 *  Owns:   nothing.   Thread: any, before the first connection.
 *  Holds:  `HEARTH_TEST_LIBPQ` names another. */

import assert from 'node:assert/strict'
import { configureLibpq, libpqInfo, newerLibpq } from '../../native-bindings/index.ts'

const named = process.env['HEARTH_TEST_LIBPQ']
const chosen = named ?? newerLibpq()
// False where one is loaded already, which then serves.
if (chosen !== undefined) configureLibpq([chosen])
if (named !== undefined) assert.equal(libpqInfo()?.path, named)
