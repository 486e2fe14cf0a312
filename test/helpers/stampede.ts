/** Stampede: one process with many clients that all ask for one key at the word `go`. Started by 71.get_or_set.stampede.test.ts.
 *  Owns:   its clients.   Thread: main of a child process.
 *  Holds:  it tells its parent when it is ready, when its factory runs, and what its clients got. */

import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../../engine/client/index.ts'

const [socket, key, count, factoryMs] = process.argv.slice(2)

const clients = await Promise.all(
  Array.from({ length: Number(count) }, () => connect({ socket: socket!, failOpen: true })),
)
const factory = async (): Promise<string> => {
  process.send!({ kind: 'runs' })
  await sleep(Number(factoryMs))
  return `from ${process.pid}`
}
process.once('message', async () => {
  const values = await Promise.all(clients.map(client => client.cache.getOrSet(key!, factory)))
  process.send!({ kind: 'values', values })
})
process.once('disconnect', () => process.exit())
process.send!({ kind: 'ready' })
