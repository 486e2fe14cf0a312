/** Listener: the engine's Unix socket and the sessions on it.
 *  Owns:   the socket file, unless systemd holds it; the list of sessions.   Not here: what a session does (session.ts).
 *  Thread: main.
 *  Holds:  (1) one engine a socket: a file that answers is left alone, one that nobody listens on is replaced.
 *          (2) the file has its mode before anyone can connect.  (3) past SESSION_COUNT_MAX a connection is refused at once. */

import { mkdirSync, statSync, unlinkSync } from 'node:fs'
import net from 'node:net'
import { dirname } from 'node:path'
import { monotonicMs } from '../clock.ts'
import { correlationId } from '../correlation.ts'
import { HearthError } from '../errors.ts'
import { LEAVE_MS_MAX, LEAVE_OPEN_MS_MAX, SESSION_COUNT_MAX } from '../limits.ts'
import { log } from '../log.ts'
import { encodeErrorFrame } from '../protocol/error_frame.ts'
import { type CredentialsOf, peerOf } from './peer.ts'
import { Session } from './session.ts'
import type { SessionContext } from './session_context.ts'
import { descriptorOf, SocketWire } from './socket_wire.ts'

export interface ListenerOptions {
  readonly path: string
  readonly mode: number
  /** A socket that listens already and is somebody else's to open and unlink (held_socket.ts). */
  readonly heldFd?: number | undefined
  readonly credentialsOf?: CredentialsOf
}

/** Connections that wait to be accepted; the kernel has a bound of its own (net.core.somaxconn). */
const BACKLOG_COUNT = 511
/** How often leave() looks who is still there. */
const LEAVE_LOOK_MS = 5
/** The queue of a held socket takes all that come while no engine runs, so it has systemd's length. */
const HELD_BACKLOG_COUNT = 4_096

export class Listener {
  readonly sessions = new Map<Session, SocketWire>()
  private readonly server: net.Server
  private readonly options: ListenerOptions
  private readonly context: SessionContext
  private readonly deadlineTimer: NodeJS.Timeout
  private onEmpty: () => void = () => undefined

  constructor(options: ListenerOptions, context: SessionContext) {
    this.options = options
    this.context = context
    this.server = net.createServer({ pauseOnConnect: true }, socket => this.accept(socket))
    this.deadlineTimer = setInterval(() => this.checkDeadlines(), 1_000).unref()
  }

  /** Opens the socket. */
  async listen(): Promise<void> {
    const { path, mode, heldFd } = this.options
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.server.once('error', error => reject(cannotListen(path, error)))
    // The bind happens within this call, so the file is never open wider than its mode.
    const umask = process.umask(0o777 & ~mode)
    if (heldFd === undefined) this.server.listen({ path, backlog: BACKLOG_COUNT }, resolve)
    // Node says listen() again, which sets the length of the queue anew: what has queued stays in it.
    else this.server.listen({ fd: heldFd, backlog: HELD_BACKLOG_COUNT }, resolve)
    process.umask(umask)
    await promise
    this.server.on('error', error => log('error', 'socket', { error: error.message }))
  }

  /** Takes no more connections, and has those there are go on elsewhere; resolves when they have gone, or had time to. What they
   *  ask meanwhile is answered. */
  async leave(): Promise<void> {
    this.server.close()
    const startMs = monotonicMs()
    while (this.sessions.size > 0) {
      let isAnyBusy = false
      for (const session of this.sessions.keys()) isAnyBusy = session.leave() || isAnyBusy
      const tookMs = monotonicMs() - startMs
      if (tookMs >= (isAnyBusy ? LEAVE_OPEN_MS_MAX : LEAVE_MS_MAX)) return
      await new Promise(resolve => setTimeout(resolve, LEAVE_LOOK_MS))
    }
  }

  /** Takes no more connections, and no more requests on those there are. */
  stopReading(): void {
    this.server.close()
    for (const session of this.sessions.keys()) session.stopReading()
  }

  /** Closes what is left: each connection once it has taken its replies, within SESSION_CLOSE_MS_MAX. */
  async close(): Promise<void> {
    clearInterval(this.deadlineTimer)
    this.server.close()
    const closed = Promise.withResolvers<void>()
    this.onEmpty = closed.resolve
    for (const [session, wire] of this.sessions) {
      session.end()
      wire.close()
    }
    if (this.sessions.size > 0) await closed.promise
  }

  inflight(): number {
    let count = 0
    for (const session of this.sessions.keys()) count += session.inflight
    return count
  }

  private accept(socket: net.Socket): void {
    if (this.sessions.size >= SESSION_COUNT_MAX) {
      log('warn', 'connection refused: too many', { max: SESSION_COUNT_MAX })
      socket.on('error', () => undefined)
      socket.end(tooMany)
      return
    }
    const peer = peerOf(descriptorOf(socket), this.options.credentialsOf)
    const wire = new SocketWire(socket, () => {
      session.end()
      this.sessions.delete(session)
      if (this.sessions.size === 0) this.onEmpty()
    })
    const session = new Session(correlationId(), peer, wire, this.context)
    this.sessions.set(session, wire)
    wire.serve(session)
  }

  /** Gives every session what its peer may do now. */
  renewAccess(): void {
    for (const session of this.sessions.keys())
      session.setAccess(this.context.accessOf(session.peer))
  }

  private checkDeadlines(): void {
    const nowMs = monotonicMs()
    for (const session of this.sessions.keys()) session.checkDeadline(nowMs)
  }
}

/** What a connection too many is told before it is closed. */
const tooMany = encodeErrorFrame(
  new HearthError('BUSY', `the engine has ${SESSION_COUNT_MAX} connections already`),
)

/** Makes sure that a socket's path is free: a file that nobody listens on is removed. Rejects with UNAVAILABLE when another
 *  engine serves there, before anything of that engine's is touched. */
export async function claimSocket(path: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o750 })
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return
  if (!stat.isSocket())
    throw new HearthError(
      'BAD_REQUEST',
      `${path} exists and is not a socket; remove it or set engine.socket`,
    )
  if (await answers(path)) {
    throw new HearthError(
      'UNAVAILABLE',
      `another engine is serving on ${path}; stop it, or set engine.socket to another path`,
    )
  }
  unlinkSync(path)
}

function answers(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const probe = net.connect(path)
  probe.once('connect', () => resolve(true))
  // EAGAIN: it listens, and its queue is full.
  probe.once('error', error => resolve((error as NodeJS.ErrnoException).code === 'EAGAIN'))
  return promise.finally(() => probe.destroy())
}

function cannotListen(path: string, error: Error): HearthError {
  const hint = Buffer.byteLength(path) > 107 ? ' (a socket path has at most 107 bytes)' : ''
  return new HearthError('UNAVAILABLE', `cannot listen on ${path}${hint}: ${error.message}`, {
    cause: error,
  })
}
