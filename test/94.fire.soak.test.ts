/** All that services do, for a while: memory, descriptors and shared memory stay as they are.
 *  Owns:   an engine in a process of its own.   Thread: main of a test process.   Runs: alone, since it measures memory. */

import { soak } from '../bench/fire/soak.ts'
import { fireTest } from './helpers/fire.ts'

fireTest('a soak in all that services do leaves nothing behind', soak)
