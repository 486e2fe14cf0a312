/** engine_parts: an Engine in this process with its threads within reach, for tests that break them.
 *  Owns:   the engine, its folder.   Thread: main of a test process.
 *  Holds:  the engine itself has no hook for this: its private fields are read as any debugger would. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Worker } from 'node:worker_threads'
import { type ConnectOptions, connect, Hearth } from '../../engine/client/index.ts'
import type { ConfigOverrides } from '../../engine/config/config.ts'
import { loadConfig } from '../../engine/config/load.ts'
import { Engine } from '../../engine/main.ts'
import { localStream } from '../../engine/server/local_wire.ts'
import type { Ending } from './engine.ts'

export interface OpenedEngine {
  readonly engine: Engine
  readonly folder: string
  readonly sqliteFile: string
  /** The worker threads that run now. */
  threads(): Worker[]
  connect(options?: ConnectOptions): Promise<Hearth>
  local(): Hearth
}

export async function openEngine(
  t: Ending,
  overrides: ConfigOverrides = {},
): Promise<OpenedEngine> {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-test-'))
  const socket = join(folder, 'hearth.sock')
  const stateDir = join(folder, 'state')
  const clients: Hearth[] = []
  let engine: Engine | undefined
  t.after(async () => {
    for (const client of clients) await client.close()
    await engine?.close()
    rmSync(folder, { recursive: true, force: true })
  })
  const { config } = loadConfig({
    env: {},
    cwd: folder,
    overrides: {
      ...overrides,
      // Nothing is logged: the deaths are the test's own doing.
      engine: { socket, stateDir, logLevel: 'error', ...overrides.engine },
    },
  })
  engine = await Engine.start(config)
  const keep = (client: Hearth) => {
    clients.push(client)
    return client
  }
  const { pool } = engine as unknown as { pool: { piscina: { threads: Worker[] } } }
  return {
    engine,
    folder,
    sqliteFile: join(stateDir, 'cache.sqlite'),
    threads: () => pool.piscina.threads,
    connect: async (options = {}) => keep(await connect({ socket, failOpen: false, ...options })),
    local: () => keep(new Hearth(localStream(engine.context), { failOpen: false })),
  }
}
