/** listen: where the HTTP side listens, from the words of http.listen.
 *  Owns:   nothing.   Thread: main.
 *  Holds:  an address is an IP literal or localhost: no name is looked up, so nothing but the engine decides who is let in. */

import { isIPv4 } from 'node:net'

export interface Listen {
  readonly host: string
  readonly port: number
}

/** `127.0.0.1:9464`, `[::1]:9464`, `localhost:9464`. The words have been checked (config/value_types.ts). */
export function listenOf(words: string): Listen {
  const colon = words.lastIndexOf(':')
  const host = words.slice(0, colon).replace(/^\[|\]$/g, '')
  return { host: host === 'localhost' ? '127.0.0.1' : host, port: Number(words.slice(colon + 1)) }
}

export function originOf({ host, port }: Listen): string {
  return `http://${isIPv4(host) ? host : `[${host}]`}:${port}`
}
