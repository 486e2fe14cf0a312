/** local_wire: a client and its session in one process, joined without a socket.
 *  Owns:   the pair.   Thread: main.
 *  Holds:  the same frames and the same session as over a socket, so that embedding behaves like it in everything but speed. */

import type { OpenStream, Stream } from '../client/connection.ts'
import { correlationId } from '../correlation.ts'
import { ownPeer, type Peer } from './peer.ts'
import { Session } from './session.ts'
import type { SessionContext, Wire } from './session_context.ts'

/** The stream of an embedded client; `peer`: as who it is to be served. */
export function localStream(context: SessionContext, peer: Peer = ownPeer()): OpenStream {
  return events => {
    let isClosed = false
    const close = () => {
      if (isClosed) return
      isClosed = true
      session.end()
      context.locals.delete(session)
      setImmediate(() => events.onClose())
    }
    const wire: Wire = {
      send: bytes => {
        if (!isClosed) events.onBytes(bytes, bytes.length)
        return true
      },
      onceSent: callback => void setImmediate(callback),
      unsentBytes: () => 0,
      // The session keeps what comes while it is held; a client's requests in flight are bounded.
      pauseReads: () => undefined,
      resumeReads: () => undefined,
      close,
      destroy: close,
    }
    const session = new Session(correlationId(), peer, wire, context)
    context.locals.add(session)
    const stream: Stream = {
      send: bytes => {
        if (!isClosed) session.receive(bytes, bytes.length)
        return true
      },
      onceSent: callback => void setImmediate(callback),
      close,
    }
    setImmediate(() => events.onOpen())
    return stream
  }
}
