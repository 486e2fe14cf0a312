/** SocketStream: a Unix socket as a connection's stream.
 *  Owns:   the socket, and the one buffer it is read into.   Not here: when to connect, and again (connection.ts).
 *  Thread: the client's.
 *  Holds:  `onClose` comes once, with what went wrong in words for people. */

import net from 'node:net'
import { HearthError } from '../errors.ts'
import { READ_BYTES } from '../limits.ts'
import type { OpenStream } from './connection.ts'

/** A Unix socket as a stream, read into one buffer that is used again and again. */
export function socketStream(path: string): OpenStream {
  return events => {
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
    let lastError: Error | undefined
    const socket = net.connect({
      path,
      onread: {
        buffer,
        callback: bytes => {
          events.onBytes(buffer, bytes)
          return true
        },
      },
    })
    socket.on('connect', () => events.onOpen())
    socket.on('error', error => {
      lastError = cannotConnect(path, error as NodeJS.ErrnoException)
    })
    socket.on('close', () => events.onClose(lastError))
    return {
      send: bytes => {
        socket.write(bytes)
        return socket.writableLength === 0
      },
      onceSent: callback => {
        if (socket.writableLength === 0) setImmediate(callback)
        else socket.once('drain', callback)
      },
      close: () => {
        socket.end()
        socket.destroySoon()
      },
      descriptor: () => (socket as unknown as { _handle?: { fd?: number } })._handle?.fd ?? -1,
    }
  }
}

function cannotConnect(path: string, error: NodeJS.ErrnoException): HearthError {
  const why =
    error.code === 'ENOENT' || error.code === 'ECONNREFUSED'
      ? `no engine serves on ${path}; start one with 'hearth serve', or name its socket in HEARTH_SOCKET`
      : error.code === 'EACCES'
        ? `no permission for ${path}; the user must be in the socket's group`
        : `cannot connect to ${path}: ${error.message}`
  return new HearthError(error.code === 'EACCES' ? 'FORBIDDEN' : 'UNAVAILABLE', why, {
    cause: error,
  })
}
