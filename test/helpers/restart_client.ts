/** restart_client: a process with clients that go on asking while their engine is restarted, and say afterwards what they saw.
 *  Owns:   its clients.   Thread: main of a child process: restart_client.ts SOCKET NAME; it ends with its stdin.
 *  Holds:  each lane has keys of its own, so that it knows what a get must bring. What is asked may be asked twice. */

import { once } from 'node:events'
import { connect, type Hearth } from '../../engine/client/index.ts'

const CLIENTS = 2
const LANES = 8
const [socket, name] = process.argv.slice(2)
const seen = { done: 0, written: 0, connects: 0, waitMsMax: 0, errors: [] as string[] }
let isOver = false

process.stdin.resume()
void once(process.stdin, 'end').then(() => {
  isOver = true
})
const clients = await Promise.all(
  Array.from({ length: CLIENTS }, (_, i) =>
    // One of them reads over the socket, the other in place; and neither a miss nor an error is what they want.
    connect({ socket: socket!, failOpen: i === 1, sharedMemory: i === 0, timeoutMs: 20_000 }),
  ),
)
console.log('running')
await Promise.all([
  ...clients.flatMap((hearth, i) =>
    Array.from({ length: LANES }, (_, lane) => ask(hearth, `${name}:${i}:${lane}`)),
  ),
  ...clients.map(write),
  knock(),
])
console.log(JSON.stringify(seen))
process.exit(0)

async function ask(hearth: Hearth, key: string): Promise<void> {
  for (let step = 1; !isOver; step++) {
    await tried(async () => {
      await hearth.cache.set(key, step)
      expect(await hearth.cache.get(key), step, key)
      const lookup = await hearth.cache.lookup<number>(key)
      expect(lookup?.value, step, key)
      const [found] = await hearth.cache.getMany([key, `${key}:none`])
      expect(found, step, key)
      expect(await hearth.cache.has(key), true, key)
      const { rows } = await hearth.db.query('select 41 + $1::int as n', [1])
      expect(rows[0]?.['n'], 42, 'a query')
    })
  }
}

/** What must not be done twice: counted where it is done, and here when it is acknowledged. */
async function write(hearth: Hearth): Promise<void> {
  const update = 'update restarts set written = written + 1'
  while (!isOver) {
    await tried(async () => {
      await hearth.db.query(update)
      seen.written++
      await hearth.db.transaction(async tx => {
        await tx.query('select 1')
        await tx.query(update)
      })
      seen.written++
    })
  }
}

/** New connections, one after the other. */
async function knock(): Promise<void> {
  while (!isOver) {
    await tried(async () => {
      const hearth = await connect({ socket: socket!, failOpen: false, timeoutMs: 20_000 })
      await hearth.ping()
      await hearth.close()
      seen.connects++
    })
  }
}

async function tried(step: () => Promise<void>): Promise<void> {
  const startMs = performance.now()
  try {
    await step()
    seen.done++
  } catch (error) {
    seen.errors.push(String((error as Error).stack))
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  seen.waitMsMax = Math.max(seen.waitMsMax, performance.now() - startMs)
}

function expect(found: unknown, wanted: unknown, what: string): void {
  if (found !== wanted) throw new Error(`${what}: found ${found}, expected ${wanted}`)
}
