/** copy: `db.copyFrom()` and `db.copyTo()`: bytes into a table and out of a query, in Postgres' own formats.
 *  Owns:   one COPY at the engine, from its first byte to its last.
 *  Thread: the client's.
 *  Holds:  (1) both sides hold each other back: a few chunks of 16 to 32 KiB are on their way.  (2) copyFrom() is all or nothing:
 *          an error of the source, of the server or of the way leaves no row behind. */

import { COPY_IN_BYTES } from '../limits.ts'
import type { Connection } from './connection.ts'
import { checkNames, checkSignal, checkText, milliseconds } from './options.ts'
import {
  CopyEndRequest,
  CopyReadRequest,
  CopyRequest,
  CopyWriteRequest,
  type Handle,
} from './sql_requests.ts'
import { ANSWER_MS_MAX, closer, commit } from './stream.ts'

export interface CopyOptions {
  /** Of the whole; unlimited unless set. */
  readonly timeoutMs?: number
  /** How long it may stand still while the source or the loop is busy. Default: as configured (60 000). */
  readonly idleTimeoutMs?: number
  /** Aborted: the COPY is cancelled at the server, nothing of a copyFrom() stands, and the call rejects with its reason. */
  readonly signal?: AbortSignal
}

/** What a COPY … FROM STDIN reads: text as UTF-8, bytes as they are, cut anywhere. */
export type CopySource = Iterable<string | Uint8Array> | AsyncIterable<string | Uint8Array>

const AHEAD_COUNT = 6

export async function copyFrom(
  connection: Connection,
  database: string,
  sql: string,
  source: CopySource,
  options: CopyOptions,
  newId: () => string,
): Promise<{ rowCount: number }> {
  if (typeof source === 'string' || !isIterable(source))
    throw new TypeError('copyFrom() takes an iterable of strings or bytes')
  const handle = await open(connection, database, 'in', sql, options, newId)
  const { signal } = options
  const close = closer(connection, handle)
  signal?.addEventListener('abort', close)
  const ask = (request: CopyWriteRequest | CopyEndRequest) => {
    const answer = connection.request(request, ANSWER_MS_MAX, signal)
    answer.catch(() => undefined) // It is awaited later, or an earlier one has failed.
    return answer
  }
  try {
    const ahead: Promise<unknown>[] = []
    for await (const chunk of chunksOf(source)) {
      signal?.throwIfAborted()
      ahead.push(ask(new CopyWriteRequest(handle, chunk)))
      if (ahead.length >= AHEAD_COUNT) await ahead.shift()
    }
    for (const answer of ahead) await answer
    return { rowCount: (await ask(new CopyEndRequest(handle))) as number }
  } catch (error) {
    await close()
    throw error
  } finally {
    signal?.removeEventListener('abort', close)
  }
}

export async function* copyTo(
  connection: Connection,
  database: string,
  sql: string,
  options: CopyOptions,
  newId: () => string,
): AsyncGenerator<Buffer, void, void> {
  const handle = await open(connection, database, 'out', sql, options, newId)
  const { signal } = options
  const close = closer(connection, handle)
  signal?.addEventListener('abort', close)
  const ask = () => {
    const chunk = connection.request(new CopyReadRequest(handle), ANSWER_MS_MAX, signal)
    chunk.catch(() => undefined)
    return chunk as Promise<Buffer>
  }
  let isWhole = false
  try {
    const ahead = Array.from({ length: AHEAD_COUNT / 2 }, ask)
    for (let chunk = await ahead.shift()!; chunk.length > 0; chunk = await ahead.shift()!) {
      ahead.push(ask())
      yield chunk
      signal?.throwIfAborted()
    }
    await commit(connection, handle)
    isWhole = true
  } finally {
    signal?.removeEventListener('abort', close)
    if (!isWhole) await close()
  }
}

async function open(
  connection: Connection,
  database: string,
  direction: 'in' | 'out',
  sql: string,
  options: CopyOptions,
  newId: () => string,
): Promise<Handle> {
  checkText('sql', sql)
  checkNames(options, ['timeoutMs', 'idleTimeoutMs', 'signal'])
  checkSignal(options.signal)
  const timeoutMs = milliseconds('timeoutMs', options.timeoutMs, 0)
  const idleTimeoutMs = milliseconds('idleTimeoutMs', options.idleTimeoutMs, 0)
  const limits = { timeoutMs, idleTimeoutMs }
  const request = new CopyRequest(direction, database, limits, newId(), sql)
  const number = (await connection.request(request, ANSWER_MS_MAX, options.signal)) as number
  return { number, epoch: connection.epoch }
}

/** The source in chunks of the size that travels best: small pieces are gathered, large ones are cut. */
async function* chunksOf(source: CopySource): AsyncGenerator<Buffer, void, void> {
  const gathered = new Gathered()
  if (Symbol.asyncIterator in source) {
    for await (const piece of source) {
      gathered.add(bytesOf(piece))
      while (gathered.isFull) yield gathered.take()
    }
  } else {
    // Without a promise for each piece: a row each is what most give.
    for (const piece of source) {
      gathered.add(bytesOf(piece))
      while (gathered.isFull) yield gathered.take()
    }
  }
  if (gathered.bytes > 0) yield gathered.take()
}

class Gathered {
  bytes = 0
  private parts: Buffer[] = []

  get isFull(): boolean {
    return this.bytes >= COPY_IN_BYTES
  }

  add(part: Buffer): void {
    this.parts.push(part)
    this.bytes += part.length
  }

  /** COPY_IN_BYTES bytes, or what there is. */
  take(): Buffer {
    const whole = this.parts.length === 1 ? this.parts[0]! : Buffer.concat(this.parts, this.bytes)
    const chunk = whole.subarray(0, COPY_IN_BYTES)
    const rest = whole.subarray(chunk.length)
    this.parts = rest.length > 0 ? [rest] : []
    this.bytes = rest.length
    return chunk
  }
}

function bytesOf(piece: unknown): Buffer {
  if (typeof piece === 'string') return Buffer.from(piece)
  if (piece instanceof Uint8Array)
    return Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength)
  throw new TypeError('copyFrom() takes strings and bytes (Uint8Array) from its source')
}

function isIterable(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  return Symbol.asyncIterator in value || Symbol.iterator in value
}
