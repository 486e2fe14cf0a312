/** HttpServer: the HTTP side: a socket, and the connections on it.
 *  Owns:   the listening socket, the list of connections.   Not here: one connection (http_connection.ts), answers (routes.ts).
 *  Thread: main.
 *  Holds:  (1) at most CONNECTION_COUNT_MAX; one more ends the one that has been idle longest, or is refused.  (2) a Host that is not
 *          an address, loopback's name or configured is refused: a page elsewhere whose name is made to lead here reads nothing
 *          (DNS rebinding).
 *
 *  Own, and not node:http: GET and HEAD without bodies need a tenth of it, and it took 3.5 MB more after 120 requests. */

import net from 'node:net'
import { monotonicMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import { HttpConnection, type HttpRoutes } from './http_connection.ts'
import { type Listen, originOf } from './listen.ts'

export const CONNECTION_COUNT_MAX = 64

export class HttpServer {
  private readonly server: net.Server
  private readonly routes: HttpRoutes
  private readonly hosts: ReadonlySet<string>
  /** Oldest first. */
  private readonly connections = new Map<net.Socket, HttpConnection>()
  private readonly timer: NodeJS.Timeout

  /** `hosts`: names that are allowed besides addresses and loopback's. */
  constructor(routes: HttpRoutes, hosts: readonly string[]) {
    this.routes = routes
    this.hosts = new Set(hosts.map(host => host.toLowerCase()))
    this.server = net.createServer({ allowHalfOpen: true }, socket => this.accept(socket))
    this.timer = setInterval(() => this.checkDeadlines(), 1_000).unref()
  }

  /** Resolves with the port. Rejects with UNAVAILABLE. */
  async listen({ host, port }: Listen): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.server.once('error', cause => {
      const message = `cannot serve HTTP on ${originOf({ host, port })}: ${cause.message}; set http.listen to another port, or off`
      reject(new HearthError('UNAVAILABLE', message, { cause }))
    })
    this.server.listen({ host, port, backlog: 128 }, resolve)
    await promise
    return (this.server.address() as net.AddressInfo).port
  }

  /** Lets answers that are being written be taken, for a moment. */
  async close(): Promise<void> {
    clearInterval(this.timer)
    const closed = new Promise<void>(resolve => this.server.close(() => resolve()))
    for (const connection of this.connections.values()) connection.close()
    const patience = setTimeout(() => {
      for (const socket of this.connections.keys()) socket.destroy()
    }, CLOSE_MS_MAX)
    await closed
    clearTimeout(patience)
  }

  private accept(socket: net.Socket): void {
    if (this.connections.size >= CONNECTION_COUNT_MAX && !this.makeRoom()) {
      socket.destroy()
      return
    }
    socket.setNoDelay(true)
    const connection = new HttpConnection(socket, this.routes, host => this.isAllowed(host))
    this.connections.set(socket, connection)
    socket.on('close', () => this.connections.delete(socket))
  }

  /** The oldest that is idle goes; if none is, the oldest that has not finished what it asks. */
  private makeRoom(): boolean {
    return (
      this.endOldest(connection => connection.isIdle) ||
      this.endOldest(connection => connection.isUnfinished)
    )
  }

  private endOldest(isMeant: (connection: HttpConnection) => boolean): boolean {
    for (const [socket, connection] of this.connections) {
      if (!isMeant(connection)) continue
      this.connections.delete(socket)
      socket.destroy()
      return true
    }
    return false
  }

  private checkDeadlines(): void {
    const nowMs = monotonicMs()
    for (const connection of this.connections.values()) connection.checkDeadline(nowMs)
  }

  private isAllowed(host: string): boolean {
    const name = host.replace(/:\d*$/, '')
    const address = name.replace(/^\[|\]$/g, '')
    if (name === 'localhost' || name.endsWith('.localhost') || net.isIP(address) !== 0) return true
    // Of HTTP/1.0 without a Host: no browser sends such.
    return name === '' || this.hosts.has(name)
  }
}

const CLOSE_MS_MAX = 500
