/** SocketWire: one accepted Unix socket, read through a buffer that all of them share.
 *  Owns:   the socket.   Thread: main.
 *  Holds:  bytes handed to the session are valid only during the call; send() says truly whether the kernel took them.
 *
 *  Node gives an accepted socket a fresh 64 KiB buffer for each read, which under load is most of an engine's garbage. A socket
 *  made anew around the accepted handle with `onread` reads into one buffer for all (public for outgoing connections,
 *  hence the detour by the handle). */

import net from 'node:net'
import { READ_BYTES, SESSION_CLOSE_MS_MAX } from '../limits.ts'
import type { Session } from './session.ts'
import type { Wire } from './session_context.ts'

const readBuffer = Buffer.allocUnsafeSlow(READ_BYTES)

interface Handle {
  readonly fd: number
}

/** The descriptor of a socket, for asking the kernel about it. */
export function descriptorOf(socket: net.Socket): number {
  return (socket as unknown as { _handle: Handle | null })._handle?.fd ?? -1
}

export class SocketWire implements Wire {
  private readonly socket: net.Socket
  private session: Session | undefined
  private sentCallbacks: (() => void)[] = []

  /** Takes an accepted, paused socket over. `onClose` is called once, whatever ends it. */
  constructor(accepted: net.Socket, onClose: () => void) {
    const holder = accepted as unknown as { _handle: unknown }
    const handle = holder._handle
    holder._handle = null
    this.socket = new net.Socket({
      handle,
      onread: {
        buffer: readBuffer,
        callback: (bytes: number, buffer: Buffer) => {
          this.session?.receive(buffer, bytes)
          return true
        },
      },
    } as net.SocketConstructorOpts)
    this.socket.on('error', () => undefined) // 'close' follows, and that is what counts.
    this.socket.on('close', onClose)
    this.socket.on('drain', () => this.callSent())
  }

  /** Begins to read, for a session. */
  serve(session: Session): void {
    this.session = session
    this.socket.resume()
  }

  send(bytes: Buffer): boolean {
    this.socket.write(bytes)
    return this.socket.writableLength === 0
  }

  onceSent(callback: () => void): void {
    if (this.socket.writableLength === 0) setImmediate(callback)
    else this.sentCallbacks.push(callback)
  }

  unsentBytes(): number {
    return this.socket.writableLength
  }

  pauseReads(): void {
    this.socket.pause()
  }

  resumeReads(): void {
    this.socket.resume()
  }

  close(): void {
    this.sentCallbacks = []
    this.socket.end()
    this.socket.destroySoon()
    // A peer that does not read would keep its queue and its place for ever.
    const timer = setTimeout(() => this.socket.destroy(), SESSION_CLOSE_MS_MAX).unref()
    this.socket.once('close', () => clearTimeout(timer))
  }

  destroy(): void {
    this.socket.destroy()
  }

  private callSent(): void {
    const callbacks = this.sentCallbacks
    this.sentCallbacks = []
    for (const callback of callbacks) callback()
  }
}
