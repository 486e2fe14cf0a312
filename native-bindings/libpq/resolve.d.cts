/** resolve: the types of resolve.cjs.
 *  Owns: nothing.   Thread: any.   Holds: mirrors its module. */

/** What a connection string, or the environment, says of where to connect; null where neither does. */
export interface Conninfo {
  host: string | null
  hostaddr: string | null
  port: string | null
  /** Seconds. */
  connectTimeout: string | null
}

export interface HostLists {
  host: string
  hostaddr: string
  port: string
}

export function hostsToResolve(conninfo: Conninfo): { host: string; port?: string }[] | undefined
export function resolveHosts(
  hosts: { host: string; port?: string }[],
  callback: (error: Error | null, lists?: HostLists) => void,
): void
