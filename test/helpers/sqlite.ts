/** sqlite: drives a handler of tier 2 without rings: requests are encoded, replies collected and decoded.
 *  Owns:   the temporary folders it makes, removed when the test process ends.   Thread: main of a test process.
 *  Holds:  a reply that was not asked for, or a second one for a ticket, throws. */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { wallMs } from '../../engine/clock.ts'
import type { HearthError } from '../../engine/errors.ts'
import {
  BodyReader,
  textBytesMax,
  writeText,
  writeTime,
  writeUint,
} from '../../engine/protocol/body.ts'
import { decodeValue } from '../../engine/protocol/payload.ts'
import { OPS, REPLY_BY_CODE, type ReplyName } from '../../engine/protocol/spec.ts'
import type { Replies } from '../../workers/handler.ts'
import { createSqliteHandler, type SqliteHandler } from '../../workers/sqlite/ops.ts'
import type { StoreOptions } from '../../workers/sqlite/store.ts'

export interface Answer {
  readonly name: ReplyName
  readonly body: Buffer
  readonly error?: HearthError
}

const folders: string[] = []
const mounts: string[] = []
process.on('exit', () => {
  for (const mount of mounts) unmount(mount)
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-sqlite-'))
  folders.push(folder)
  return folder
}

/** A folder on a memory disk of that size; undefined where this process may not mount one. */
export function smallDisk(bytes: number): string | undefined {
  const folder = temporaryFolder()
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', folder], {
      stdio: 'ignore',
    })
  } catch {
    return undefined
  }
  mounts.push(folder)
  return folder
}

function unmount(folder: string): void {
  try {
    execFileSync('umount', ['-l', folder], { stdio: 'ignore' })
  } catch {
    // Left to the end of the machine: a lazy unmount fails only when it is gone already.
  }
}

export function optionsFor(folder: string, changes: Partial<StoreOptions> = {}): StoreOptions {
  return {
    file: join(folder, 'cache.sqlite'),
    maxBytes: 16 * 1024 * 1024,
    busyTimeoutMs: 100,
    synchronous: 'NORMAL',
    cacheBytes: 1024 * 1024,
    ...changes,
  }
}

/** A handler with its mailbox. Calls ending in `Now` end the drain and give the answer. */
export class Tier {
  readonly handler: SqliteHandler
  readonly answers = new Map<number, Answer>()
  readonly replies: Replies
  private readonly bytes: Buffer
  /** What main would give to the next write. */
  version: number
  private nextTicket = 1

  constructor(options: StoreOptions, frameBytes = 1024 * 1024) {
    // Rings live in shared memory, and so do the frames that come from them.
    this.bytes = Buffer.from(new SharedArrayBuffer(frameBytes))
    this.replies = {
      reply: (op, ticket, body, start = 0, end = body.length) => {
        this.take(ticket, {
          name: REPLY_BY_CODE.get(op)!,
          body: Buffer.from(body.subarray(start, end)),
        })
      },
      fail: (ticket, error) => this.take(ticket, { name: 'ERROR', body: Buffer.alloc(0), error }),
    }
    this.handler = createSqliteHandler(options)
    this.version = this.stats()['nextVersion']!
  }

  /** Ends the drain, and what the handler goes on with by itself. */
  flush(): void {
    do {
      this.handler.flush!(this.replies)
      this.handler.settle!()
    } while (this.handler.isBusy)
  }

  put(key: string, value: Uint8Array, expiresAtMs = Infinity, op: number = OPS.PUT.code): number {
    let at = writeText(this.bytes, 8, key)
    at = writeTime(this.bytes, at, expiresAtMs)
    at = writeTime(this.bytes, at, this.version++)
    this.bytes.set(value, at)
    return this.send(op, at + value.length)
  }

  get(key: string): number {
    return this.send(OPS.GET.code, writeText(this.bytes, 8, key))
  }

  del(key: string): number {
    return this.send(OPS.DEL.code, writeText(this.bytes, 8, key))
  }

  send(op: number, end: number): number {
    const ticket = this.nextTicket++
    this.handler.handle({ op, ticket, bytes: this.bytes, start: 8, end }, this.replies)
    return ticket
  }

  /** Sends a body as it stands. */
  sendBody(op: number, body: Uint8Array): number {
    this.bytes.set(body, 8)
    return this.send(op, 8 + body.length)
  }

  answer(ticket: number): Answer {
    const answer = this.answers.get(ticket)
    if (answer === undefined) throw new Error(`no answer yet to ${ticket}`)
    return answer
  }

  /** The answer, with the drain ended. */
  ended(ticket: number): Answer {
    this.flush()
    return this.answer(ticket)
  }

  putNow(key: string, value: Uint8Array, expiresAtMs = Infinity): Answer {
    return this.ended(this.put(key, value, expiresAtMs))
  }

  /** The value, undefined for a miss; a large one in parts. Throws when the key echoed is another. */
  getNow(key: string): Buffer | undefined {
    const { name, body } = this.ended(this.get(key))
    if (name === 'MISS') return undefined
    const reader = new BodyReader().reset(body, 0, body.length)
    if (reader.text() !== key) throw new Error('another key came back')
    reader.time()
    const version = reader.time()
    if (name === 'FOUND') return body.subarray(reader.at)
    if (name === 'FOUND_EXTRA') {
      reader.uint()
      reader.uint()
    }
    for (let left = reader.arrayHead(); left > 0; left--) reader.uint()
    if (name === 'FOUND_EXTRA') return body.subarray(reader.at)
    if (name !== 'FOUND_LARGE') throw new Error(`${name} to a GET`)
    const bytes = reader.uint()
    const parts: Buffer[] = []
    for (let offset = 0; offset < bytes; offset += parts.at(-1)!.length) {
      const part = this.partNow(key, version, offset, 256 * 1024)
      if (part === undefined) throw new Error('the value went while it was read')
      parts.push(part)
    }
    return Buffer.concat(parts)
  }

  largeNow(key: string): { version: number; bytes: number } {
    const { name, body } = this.ended(this.get(key))
    if (name !== 'FOUND_LARGE') throw new Error(`${name}, not FOUND_LARGE`)
    const reader = new BodyReader().reset(body, 0, body.length)
    reader.text()
    reader.time()
    const version = reader.time()
    reader.arrayHead()
    return { version, bytes: reader.uint() }
  }

  partNow(key: string, version: number, offset: number, limit: number): Buffer | undefined {
    let at = writeText(this.bytes, 8, key)
    for (const number of [version, offset, limit]) at = writeUint(this.bytes, at, number)
    const { name, body } = this.ended(this.send(OPS.READ_PART.code, at))
    return name === 'ABSENT' ? undefined : body
  }

  delNow(key: string): number {
    const { name, body, error } = this.ended(this.del(key))
    if (name !== 'COUNT') throw error ?? new Error(`${name} to a DEL`)
    return body[0]!
  }

  keysNow(glob: string, after = '', limit = 1_000): string[] {
    const at = writeText(this.bytes, 8, glob)
    const end = writeUint(this.bytes, writeText(this.bytes, at, after), limit)
    return decodeValue(this.ended(this.send(OPS.KEYS.code, end)).body) as string[]
  }

  /** Housekeeping until it asks for no more within `calmMs`, or `forMs` are over. */
  async settle(calmMs = 1_500, forMs = 10_000): Promise<void> {
    const endMs = wallMs() + forMs
    while (wallMs() < endMs) {
      const waitMs = this.handler.idle!()
      if (waitMs > calmMs) return
      await new Promise(resolve => setTimeout(resolve, Math.min(waitMs, 50)))
    }
  }

  stats(): Record<string, number> {
    return this.handler.stats() as Record<string, number>
  }

  health() {
    return this.handler.health()
  }

  close(): void {
    this.handler.close()
  }

  private take(ticket: number, answer: Answer): void {
    if (ticket >= this.nextTicket) throw new Error(`an answer to ${ticket}, which was never asked`)
    if (this.answers.has(ticket)) throw new Error(`two answers to ${ticket}`)
    this.answers.set(ticket, answer)
  }
}

export function bodyOf(...texts: string[]): Buffer {
  const body = Buffer.alloc(texts.reduce((sum, text) => sum + textBytesMax(text), 0))
  let at = 0
  for (const text of texts) at = writeText(body, at, text)
  return body.subarray(0, at)
}
