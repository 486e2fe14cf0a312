/** frames: a connection that sends whatever bytes it is told to, and frames made by hand.
 *  Owns:   its socket.   Thread: main of a test process.
 *  Holds:  nothing here shares code with the engine's or the client's way of sending and receiving, but for the codes and msgpack. */

import net from 'node:net'
import { decodeSequence, decodeValue, encodeValue } from '../../engine/protocol/payload.ts'
import { OPS, PROTOCOL_VERSION, REPLIES, REPLY_BY_CODE } from '../../engine/protocol/spec.ts'

const ANSWER_MS_MAX = 10_000

export interface Greeting {
  readonly version: number
  readonly engine: string
  readonly server: string
  readonly session: string
  readonly maxKeyBytes: number
  readonly maxValueBytes: number
  readonly segment: { readonly path: string; readonly layout: number } | null
}

export interface Reply {
  readonly op: number
  readonly id: number
  readonly body: Buffer
}

/** A frame of any operation: the header, then each argument as msgpack; a Buffer stands for itself. */
export function frame(op: number, id: number, ...args: unknown[]): Buffer {
  const body = Buffer.concat(args.map(arg => (Buffer.isBuffer(arg) ? arg : encodeValue(arg))))
  return Buffer.concat([header(op, id, body.length), body])
}

/** A header that says what it is told to, true or not. */
export function header(op: number, id: number, bodyBytes: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt32LE(((bodyBytes << 8) | op) >>> 0, 0)
  bytes.writeUInt32LE(id >>> 0, 4)
  return bytes
}

export const hello = (version: unknown = PROTOCOL_VERSION, name: unknown = 'frames', id = 1) =>
  frame(OPS.HELLO.code, id, version, name)
export const get = (id: number, key: string) => frame(OPS.GET.code, id, key)
export const del = (id: number, key: string) => frame(OPS.DEL.code, id, key)
export const ping = (id: number) => frame(OPS.PING.code, id)
/** A SET; `value` is encoded, unless it is a Buffer, which is then taken for msgpack. */
export const set = (id: number, key: string, value: unknown, ttl: unknown = null, durability = 0) =>
  frame(OPS.SET.code, id, key, ttl, durability, Buffer.isBuffer(value) ? value : encodeValue(value))

/** A msgpack value (a bin) whose encoding has exactly so many bytes. */
export function rawValue(bytes: number, fill = 0x61): Buffer {
  const value = Buffer.alloc(bytes, fill)
  if (bytes < 1) throw new RangeError('a msgpack value has at least one byte')
  if (bytes === 1) value[0] = 0xc3
  else if (bytes <= 2 + 0xff) {
    value[0] = 0xc4
    value[1] = bytes - 2
  } else if (bytes <= 3 + 0xffff) {
    value[0] = 0xc5
    value.writeUInt16BE(bytes - 3, 1)
  } else {
    value[0] = 0xc6
    value.writeUInt32BE(bytes - 5, 1)
  }
  return value
}

/** The name of a reply's operation. */
export function nameOf(reply: Reply): string {
  return REPLY_BY_CODE.get(reply.op) ?? `0x${reply.op.toString(16)}`
}

/** The wire number and the words of an ERROR. */
export function errorOf(reply: Reply): { wire: number; message: string } {
  const [wire, message] = decodeSequence(reply.body)
  return { wire: wire as number, message: message as string }
}

export class RawClient {
  readonly socket: net.Socket
  /** Replies that came and were not taken. */
  readonly replies: Reply[] = []
  isClosed = false
  /** The reason, when the connection did not end in peace. */
  error: Error | undefined
  private bytes: Buffer[] = []
  private bytesCount = 0
  private wake: () => void = () => undefined

  static open(path: string): Promise<RawClient> {
    const { promise, resolve, reject } = Promise.withResolvers<RawClient>()
    const socket = net.connect(path)
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.off('error', reject)
      resolve(new RawClient(socket))
    })
    return promise
  }

  private constructor(socket: net.Socket) {
    this.socket = socket
    socket.on('data', (bytes: Buffer) => this.take(bytes))
    socket.on('error', error => {
      this.error = error
    })
    socket.on('close', () => {
      this.isClosed = true
      this.wake()
    })
  }

  send(...parts: Buffer[]): this {
    this.socket.write(parts.length === 1 ? parts[0]! : Buffer.concat(parts))
    return this
  }

  /** Sends HELLO and takes the greeting. */
  async hello(name = 'frames'): Promise<Greeting> {
    this.send(hello(PROTOCOL_VERSION, name))
    const reply = await this.next()
    if (reply.op !== REPLIES.GREETING.code) throw new Error(`no greeting but ${nameOf(reply)}`)
    return decodeValue(reply.body) as Greeting
  }

  /** The next reply, whatever it is. */
  async next(timeoutMs = ANSWER_MS_MAX): Promise<Reply> {
    await this.until(() => this.replies.length > 0, timeoutMs)
    return this.replies.shift()!
  }

  /** The reply with this id; others stay where they are. */
  async reply(id: number, timeoutMs = ANSWER_MS_MAX): Promise<Reply> {
    const isIt = (reply: Reply) => reply.id === id
    await this.until(() => this.replies.some(isIt), timeoutMs)
    return this.replies.splice(this.replies.findIndex(isIt), 1)[0]!
  }

  /** Waits until the engine has closed the connection. */
  async untilClosed(timeoutMs = ANSWER_MS_MAX): Promise<void> {
    await this.until(() => this.isClosed, timeoutMs)
  }

  async close(): Promise<void> {
    this.socket.destroy()
    await this.until(() => this.isClosed, ANSWER_MS_MAX)
  }

  /** Reads nothing more until resume(). */
  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  private async until(condition: () => boolean, timeoutMs: number): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs
    while (!condition()) {
      if (this.isClosed) throw new Error(`the connection was closed: ${this.error?.message ?? ''}`)
      const { promise, resolve } = Promise.withResolvers<void>()
      this.wake = resolve
      const timer = setTimeout(resolve, deadlineMs - performance.now())
      await promise
      clearTimeout(timer)
      if (!condition() && performance.now() >= deadlineMs) {
        throw new Error(`nothing came within ${timeoutMs} ms`)
      }
    }
  }

  private take(bytes: Buffer): void {
    this.bytes.push(bytes)
    this.bytesCount += bytes.length
    while (this.bytesCount >= 8) {
      if (this.bytes.length > 1 && this.bytes[0]!.length < 8) this.join()
      const bodyBytes = this.bytes[0]!.readUInt32LE(0) >>> 8
      if (this.bytesCount < 8 + bodyBytes) return
      this.join()
      const all = this.bytes[0]!
      this.replies.push({
        op: all[0]!,
        id: all.readUInt32LE(4),
        body: all.subarray(8, 8 + bodyBytes),
      })
      this.bytes = [all.subarray(8 + bodyBytes)]
      this.bytesCount -= 8 + bodyBytes
      this.wake()
    }
  }

  private join(): void {
    if (this.bytes.length > 1) this.bytes = [Buffer.concat(this.bytes)]
  }
}
