/** fake_server: something that libpq takes for Postgres, and whose every answer is what the test says, to the byte.
 *  Owns:   its socket and folder, until stop().   Thread: main of a test process.
 *  Source: https://www.postgresql.org/docs/current/protocol-message-formats.html */

import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface FakeColumn {
  readonly oid: number
  /** 0 text, 1 binary. */
  readonly format: 0 | 1
}

export interface FakeResult {
  readonly columns: readonly FakeColumn[]
  readonly rows: readonly (readonly (Buffer | null)[])[]
}

export interface FakeServer {
  readonly url: string
  /** What the next simple query is answered with. */
  answer: FakeResult
  stop(): Promise<void>
}

export async function startFakeServer(): Promise<FakeServer> {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-fake-'))
  const sockets = new Set<net.Socket>()
  const fake: FakeServer = {
    url: `host=${folder} user=fake dbname=fake sslmode=disable gssencmode=disable`,
    answer: { columns: [], rows: [] },
    async stop() {
      for (const socket of sockets) socket.destroy()
      await new Promise(resolve => server.close(resolve))
      rmSync(folder, { recursive: true, force: true })
    },
  }
  const server = net.createServer(socket => {
    sockets.add(socket)
    let pending: Buffer = Buffer.alloc(0)
    let isStarted = false
    socket.on('error', () => {})
    socket.on('data', (bytes: Buffer) => {
      pending = Buffer.concat([pending, bytes])
      for (;;) {
        const head = isStarted ? 1 : 0
        if (pending.length < head + 4) return
        const end = head + pending.readUInt32BE(head)
        if (pending.length < end) return
        if (!isStarted) socket.write(Buffer.concat([message('R', int32(0)), READY]))
        else if (pending[0] === 'Q'.charCodeAt(0)) socket.write(answerBytes(fake.answer))
        isStarted = true
        pending = pending.subarray(end)
      }
    })
  })
  await new Promise<void>(resolve => server.listen(join(folder, '.s.PGSQL.5432'), resolve))
  return fake
}

function answerBytes({ columns, rows }: FakeResult): Buffer {
  const described = columns.map(({ oid, format }, i) =>
    Buffer.concat([
      Buffer.from(`c${i}\0`),
      int32(0),
      int16(0),
      int32(oid),
      int16(-1),
      int32(-1),
      int16(format),
    ]),
  )
  const data = rows.map(row =>
    message(
      'D',
      int16(row.length),
      ...row.flatMap(value => (value === null ? [int32(-1)] : [int32(value.length), value])),
    ),
  )
  return Buffer.concat([
    message('T', int16(columns.length), ...described),
    ...data,
    message('C', Buffer.from(`SELECT ${rows.length}\0`)),
    READY,
  ])
}

function message(type: string, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  return Buffer.concat([Buffer.from(type), int32(body.length + 4), body])
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value)
  return bytes
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value >>> 0)
  return bytes
}

const READY = message('Z', Buffer.from('I'))
