/** hello: the first frame of a connection.
 *  Owns:   nothing.   Thread: main.   Holds: a client of another version gets no further. */

import { HearthError } from '../errors.ts'
import { CLIENT_NAME_BYTES_MAX } from '../limits.ts'
import { BodyReader } from '../protocol/body.ts'
import { OPS, PROTOCOL_VERSION } from '../protocol/spec.ts'

/** What the client calls itself, cut to what is kept of it. Throws PROTOCOL. */
export function nameInHello(op: number, bytes: Buffer, start: number, end: number): string {
  if (op !== OPS.HELLO.code) throw new HearthError('PROTOCOL', 'the first frame must be HELLO')
  const body = new BodyReader().reset(bytes, start, end)
  const version = body.uint()
  if (version !== PROTOCOL_VERSION) {
    const text = `this engine speaks protocol version ${PROTOCOL_VERSION}, not ${version}`
    throw new HearthError('PROTOCOL', text)
  }
  const name = body.text().slice(0, CLIENT_NAME_BYTES_MAX)
  body.done()
  return name
}
