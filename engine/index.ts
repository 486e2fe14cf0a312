/** hearth: the engine inside the caller's own process.
 *  Owns:   nothing.   Thread: main.
 *  Holds:  the same engine as `hearth serve`: it listens on its socket too, so other processes can use it. */

import { Hearth, HearthError } from './client/index.ts'
import type { ConfigOverrides } from './config/config.ts'
import { loadConfig } from './config/load.ts'
import { Engine } from './main.ts'
import { localStream } from './server/local_wire.ts'

export { ERRORS, type ErrorCode, Hearth, HearthError } from './client/index.ts'
export type { Config, ConfigOverrides } from './config/config.ts'

export interface EmbeddedEngine {
  readonly socketPath: string
  /** Where metrics, health and the page are, such as http://127.0.0.1:9464; undefined: `http.listen` is off. */
  readonly httpUrl: string | undefined
  /** A client of this engine, without a socket: the interface of `connect()`. */
  client(): Hearth
  /** Finishes what is in flight and closes every file, thread and connection. */
  close(): Promise<void>
}

/** Starts an engine. Options are the configuration's keys in code form, and win over file and environment:
 *  `{ engine: { stateDir }, memory: { maxBytes }, postgres: { main: { url } } }`; milliseconds and bytes. */
export async function createEngine(
  options: ConfigOverrides & { configFile?: string } = {},
): Promise<EmbeddedEngine> {
  const { configFile, ...overrides } = options
  const { config } = loadConfig({ file: configFile, overrides })
  const engine = await Engine.start(config)
  const clients = new Set<Hearth>()
  let isClosed = false
  return {
    socketPath: engine.socketPath,
    httpUrl: await engine.httpUrl(),
    client: () => {
      if (isClosed) throw new HearthError('CLOSED', 'this engine has been closed')
      const client = new Hearth(localStream(engine.context), { name: 'embedded', failOpen: true })
      clients.add(client)
      client.on('state', state => state === 'closed' && clients.delete(client))
      return client
    },
    close: async () => {
      isClosed = true
      await engine.close()
      for (const client of clients) await client.close()
    },
  }
}
