/** service_client: a process that calls a service, and prints what came of each call.
 *  Owns:   one connection.   Thread: main of a child process; callInChild() starts it.   Holds: it ends by itself. */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { connect, type HearthError } from '../../engine/client/index.ts'

/** Calls a path so many times, one after the other: statuses, or error codes. */
export async function callInChild(
  socket: string,
  service: string,
  path: string,
  count: number,
  env: NodeJS.ProcessEnv = process.env,
): Promise<(number | string)[]> {
  const args = [import.meta.filename, socket, service, path, String(count)]
  const { stdout } = await promisify(execFile)(process.execPath, args, { env })
  return JSON.parse(stdout)
}

async function run([socket, service, path, count]: string[]): Promise<void> {
  const hearth = await connect({ socket: socket!, failOpen: false })
  const outcomes: (number | string)[] = []
  for (let i = 0; i < Number(count); i++) {
    const call = hearth.service(service!).get(path!, { retries: 0 })
    outcomes.push(
      await call.then(
        ({ status }) => status,
        (error: HearthError) => error.code,
      ),
    )
  }
  console.log(JSON.stringify(outcomes))
  await hearth.close()
}

if (process.argv[1] === import.meta.filename) await run(process.argv.slice(2))
