/** free_port: a port that a process can be told to listen on.   Owns: nothing.   Thread: main of a test process.
 *  Holds:  none that the kernel would hand out: what asks for any port meanwhile, in this process or another, gets none of these. */

import { createServer } from 'node:net'

/** Below the ports that Linux hands out by itself (net.ipv4.ip_local_port_range), above those of services. */
const LOW = 12_000
const HIGH = 32_000

const given = new Set<number>()

export async function freePort(): Promise<number> {
  for (;;) {
    const port = LOW + Math.floor(Math.random() * (HIGH - LOW))
    if (given.has(port) || !(await canBind(port))) continue
    given.add(port)
    return port
  }
}

function canBind(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const server = createServer().once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
