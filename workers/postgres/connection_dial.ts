/** connection_dial: opens an exclusive connection: pg-native on the process's libpq, with a session set up as ours are.
 *  Owns:   the driver, once loaded.   Not here: when, and how often (dial.ts).
 *  Thread: postgres worker.
 *  Holds:  a connection that is given out has answered its first statement. */

import type Client from 'pg-native'
import { Connection } from './connection.ts'
import type { PoolSpec } from './database.ts'
import { CONNECT_MS_MAX } from './dial.ts'
import { notConfiguredError } from './errors.ts'
import type { PreparedCounts } from './pool_figures.ts'
import type { ReadResult } from './results.ts'
import { type SessionLimits, setupStatement, withDefaults } from './session.ts'

/** Opens and sets up one connection. Rejects with why it could not be. */
export async function openConnection(
  spec: SessionLimits & Pick<PoolSpec, 'url' | 'origin' | 'held'>,
  counts: PreparedCounts,
): Promise<Connection> {
  const Driver = await loadDriver()
  const client = new Driver()
  await connectWithin(client, withDefaults(spec.url, CONNECT_MS_MAX))
  const connection = new Connection(client, counts, spec.origin)
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(
      () => connection.close('no answer to the first statement'),
      CONNECT_MS_MAX,
    )
    connection.run(setupStatement(spec), [], outcome => {
      clearTimeout(timer)
      if (outcome.kind === 'result') return resolve()
      const why = outcome.kind === 'lost' ? outcome.why : outcome.text
      connection.close(why)
      reject(new Error(why))
    })
  })
  return connection
}
function connectWithin(client: Client<ReadResult>, conninfo: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let isOver = false
    const settle = (error?: Error | string) => {
      if (isOver) return
      isOver = true
      clearTimeout(timer)
      if (error === undefined || error === null) return resolve()
      client.end()
      reject(typeof error === 'string' ? new Error(error) : error)
    }
    // libpq's own connect_timeout is not watched in asynchronous connects.
    const timer = setTimeout(
      () => settle(`no connection within ${CONNECT_MS_MAX} ms`),
      CONNECT_MS_MAX,
    )
    client.on('error', settle)
    client.connect(conninfo, settle)
  })
}

let driver: Promise<typeof Client<ReadResult>> | undefined

/** Loaded at the first connect: without libpq the worker, and with it the cache, still runs. */
function loadDriver(): Promise<typeof Client<ReadResult>> {
  driver ??= import('pg-native').then(
    module => module.default as typeof Client<ReadResult>,
    (cause: Error) => {
      driver = undefined // it may be installed meanwhile
      throw notConfiguredError(cause)
    },
  )
  return driver
}
