/** correlation: ids that follow a request from its caller through ring and worker to Postgres and the log. Sole importer of hyperid.
 *  Owns:   one generator a thread.   Thread: any.   Holds: no two ids of one process are alike; ids name nothing about the host. */

import { closeSync, openSync, readSync } from 'node:fs'
import hyperid from 'hyperid'

const generate = hyperid({ urlSafe: true })

/** A new id, URL-safe, about 25 characters. */
export function correlationId(): string {
  return generate()
}

/** 32 hexadecimal digits that nobody can guess, as a client may the next correlation id. From the kernel: node:crypto is 1 MB. */
export function secretText(): string {
  const bytes = Buffer.alloc(16)
  const file = openSync('/dev/urandom', 'r')
  try {
    readSync(file, bytes)
  } finally {
    closeSync(file)
  }
  return bytes.toString('hex')
}
