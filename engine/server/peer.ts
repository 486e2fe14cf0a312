/** peer: who is at the other end of a connection, as the kernel says.
 *  Owns:   nothing.   Thread: main.   Holds: credentials come from SO_PEERCRED, never from what a client claims. */

/** `uid`, `gid` and `pid` are -1 where the native binding is missing and the kernel could not be asked. */
export interface Peer {
  readonly uid: number
  readonly gid: number
  readonly pid: number
  readonly role: 'admin' | 'service'
}

export type CredentialsOf = (fd: number) => { pid: number; uid: number; gid: number }

/** The engine's own user and root are `admin`; whoever else the socket's mode lets in is a `service`. */
export function peerOf(fd: number, credentialsOf: CredentialsOf | undefined): Peer {
  if (credentialsOf === undefined) return { uid: -1, gid: -1, pid: -1, role: 'service' }
  const { uid, gid, pid } = credentialsOf(fd)
  const isAdmin = uid === 0 || uid === process.geteuid?.()
  return { uid, gid, pid, role: isAdmin ? 'admin' : 'service' }
}

/** A client in the engine's own process. */
export function ownPeer(): Peer {
  return {
    uid: process.geteuid?.() ?? -1,
    gid: process.getegid?.() ?? -1,
    pid: process.pid,
    role: 'admin',
  }
}
