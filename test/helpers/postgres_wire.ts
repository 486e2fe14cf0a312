/** A Postgres client of the tests' own: the wire protocol on a Unix socket, values as text.
 *  Owns:   one socket.   Why: an observer that shares no code with what is tested, and needs no binding.
 *  Thread: any.
 *  Holds:  one query at a time, in order; an error of the server is thrown with its SQLSTATE as `code`. */

import { connect, type Socket } from 'node:net'
import { join } from 'node:path'

export interface WireResult {
  fields: string[]
  rows: (string | null)[][]
  command: string
}

/** Trust authentication only, which is what the embedded server has. */
export class WireClient {
  pid = 0
  private readonly socket: Socket
  private received: Buffer = Buffer.alloc(0)
  private waiting: { resolve(result: WireResult): void; reject(error: Error): void } | undefined
  private result: WireResult = { fields: [], rows: [], command: '' }
  private failure: Error | undefined
  private turn: Promise<unknown> = Promise.resolve()
  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => this.take(chunk))
    socket.on('error', error => this.end(error))
    socket.on('close', () => this.end(new Error('the server closed the connection')))
  }

  static async open(url: string): Promise<WireClient> {
    const { hostname, username, pathname, searchParams } = new URL(url.replace('@/', '@localhost/'))
    const folder = searchParams.get('host') ?? hostname
    const socket = connect(join(folder, `.s.PGSQL.${searchParams.get('port') ?? 5432}`))
    const client = new WireClient(socket)
    const pairs = `user\0${username || 'postgres'}\0database\0${pathname.slice(1)}\0\0`
    const head = Buffer.alloc(8)
    head.writeInt32BE(8 + Buffer.byteLength(pairs), 0)
    head.writeInt32BE(196_608, 4) // protocol 3.0
    await client.exchange(Buffer.concat([head, Buffer.from(pairs)]))
    return client
  }

  /** Simple protocol without parameters (several statements allowed), extended with them. */
  query(sql: string, params?: (string | null)[]): Promise<WireResult> {
    const bytes =
      params === undefined
        ? message('Q', text(sql))
        : Buffer.concat([
            message('P', text(''), text(sql), int16(0)),
            message(
              'B',
              text(''),
              text(''),
              int16(0),
              int16(params.length),
              ...params.map(param),
              int16(0),
            ),
            message('D', Buffer.from('P\0')),
            message('E', text(''), int32(0)),
            message('S'),
          ])
    const answer = this.turn.then(() => this.exchange(bytes))
    this.turn = answer.catch(() => {})
    return answer
  }

  /** The single value of a single row, as text. */
  async value(sql: string, params?: (string | null)[]): Promise<string | null> {
    return (await this.query(sql, params)).rows[0]?.[0] ?? null
  }

  close(): Promise<void> {
    return new Promise(resolve => {
      if (this.socket.destroyed) return resolve()
      this.socket.once('close', () => resolve())
      this.socket.end(message('X'))
    })
  }

  private exchange(bytes: Buffer): Promise<WireResult> {
    return new Promise((resolve, reject) => {
      if (this.socket.destroyed) return reject(new Error('the connection is closed'))
      this.waiting = { resolve, reject }
      this.result = { fields: [], rows: [], command: '' }
      this.failure = undefined
      this.socket.write(bytes)
    })
  }

  private end(error: Error): void {
    this.waiting?.reject(this.failure ?? error)
    this.waiting = undefined
  }

  private take(chunk: Buffer): void {
    this.received = this.received.length === 0 ? chunk : Buffer.concat([this.received, chunk])
    let at = 0
    while (this.received.length - at >= 5) {
      const length = this.received.readInt32BE(at + 1) + 1
      if (this.received.length - at < length) break
      this.dispatch(
        String.fromCharCode(this.received[at]!),
        this.received.subarray(at + 5, at + length),
      )
      at += length
    }
    this.received = this.received.subarray(at)
  }

  private dispatch(type: string, body: Buffer): void {
    if (type === 'T') this.result.fields = fieldsOf(body)
    else if (type === 'D') this.result.rows.push(rowOf(body))
    else if (type === 'C') this.result.command = body.toString('utf8', 0, body.length - 1)
    else if (type === 'K') this.pid = body.readInt32BE(0)
    else if (type === 'E') this.failure ??= errorOf(body)
    else if (type === 'Z') {
      const { waiting, failure, result } = this
      this.waiting = undefined
      if (failure === undefined) waiting?.resolve(result)
      else waiting?.reject(failure)
    }
  }
}

function fieldsOf(body: Buffer): string[] {
  const names: string[] = []
  let at = 2
  for (let left = body.readInt16BE(0); left > 0; left--) {
    const end = body.indexOf(0, at)
    names.push(body.toString('utf8', at, end))
    at = end + 1 + 18
  }
  return names
}

function rowOf(body: Buffer): (string | null)[] {
  const values: (string | null)[] = []
  let at = 2
  for (let left = body.readInt16BE(0); left > 0; left--) {
    const length = body.readInt32BE(at)
    at += 4
    values.push(length < 0 ? null : body.toString('utf8', at, at + length))
    at += Math.max(length, 0)
  }
  return values
}

function errorOf(body: Buffer): Error {
  const fields = new Map(
    body
      .toString('utf8')
      .split('\0')
      .map(field => [field[0], field.slice(1)]),
  )
  return Object.assign(new Error(fields.get('M')), { code: fields.get('C') })
}

function message(type: string, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  return Buffer.concat([Buffer.from(type), int32(body.length + 4), body])
}

const text = (value: string) => Buffer.from(`${value}\0`)
const param = (value: string | null) =>
  value === null ? int32(-1) : Buffer.concat([int32(Buffer.byteLength(value)), Buffer.from(value)])

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value)
  return bytes
}
