/** Clients that flood, that do not read, that are half open, that are many, and no descriptors for more: the others are served.
 *  Owns:   an engine a fault, in a process of its own.   Thread: main of a test process.   Runs: alone, since it measures. */

import { halfOpen, manyConnections, noDescriptors, slowReader } from '../bench/fire/connections.ts'
import { flood } from '../bench/fire/flood.ts'
import { fireTest } from './helpers/fire.ts'

fireTest('one client floods the engine, and ten others go on', flood)
fireTest('clients that ask for much and never read cost a bounded amount of memory', slowReader)
fireTest('half-open sockets hold nobody up, and go', halfOpen)
fireTest('connections by the hundred are served, and their memory comes back', manyConnections)
fireTest(
  'without descriptors the engine goes on, idles, and takes clients once there are some',
  noDescriptors,
)
