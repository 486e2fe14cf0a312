/** correlation: ids that follow a request from its caller through ring and worker to Postgres and the log. Sole importer of hyperid.
 *  Owns:   one generator a thread.   Thread: any.   Holds: no two ids of one process are alike; ids name nothing about the host. */

import hyperid from 'hyperid'

const generate = hyperid({ urlSafe: true })

/** A new id, URL-safe, about 25 characters. */
export function correlationId(): string {
  return generate()
}
