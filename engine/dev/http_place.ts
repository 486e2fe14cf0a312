/** HTTP place: where the dev engine's page is: 127.0.0.1:9464, or a free port when somebody has that one.
 *  Owns:   nothing.   Thread: main.
 *  Holds:  HEARTH_HTTP_LISTEN, if set, is what counts; a second `hearth dev` on this machine starts all the same. */

import net from 'node:net'

const USUAL = 9464

/** Words for http.listen. */
export async function placeHttp(env: NodeJS.ProcessEnv): Promise<string> {
  const set = env['HEARTH_HTTP_LISTEN']
  if (set !== undefined) return set
  const port = (await portIfFree(USUAL)) ?? (await portIfFree(0))
  return port === undefined ? 'off' : `127.0.0.1:${port}`
}

function portIfFree(port: number): Promise<number | undefined> {
  const { promise, resolve } = Promise.withResolvers<number | undefined>()
  const server = net.createServer()
  server.once('error', () => resolve(undefined))
  server.listen(port, '127.0.0.1', () => {
    const { port } = server.address() as net.AddressInfo
    server.close(() => resolve(port))
  })
  return promise
}
