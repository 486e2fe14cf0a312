/** peer: who is at the other end of a connection, as the kernel says.
 *  Owns:   nothing.   Thread: main.   Holds: credentials come from SO_PEERCRED, never from what a client claims. */

/** All -1 and no groups where the native binding is missing and the kernel could not be asked. */
export interface Peer {
  readonly uid: number
  readonly gid: number
  readonly pid: number
  /** Supplementary groups. */
  readonly groups: readonly number[]
  /** A client in the engine's own process, which no configuration can keep from anything. */
  readonly isLocal?: true
}

export type CredentialsOf = (fd: number) => Peer

/** As of when the connection was made. Which role that is guard/roles.ts says. */
export function peerOf(fd: number, credentialsOf: CredentialsOf | undefined): Peer {
  if (credentialsOf === undefined) return { uid: -1, gid: -1, pid: -1, groups: [] }
  return credentialsOf(fd)
}

/** A client in the engine's own process. */
export function ownPeer(): Peer {
  return {
    uid: process.geteuid?.() ?? -1,
    gid: process.getegid?.() ?? -1,
    pid: process.pid,
    groups: [],
    isLocal: true,
  }
}
