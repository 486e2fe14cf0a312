/** faulty_proxy: a Unix socket in front of a Postgres server, on which connections can be stalled or spoilt.
 *  Owns:   its socket and folder, and both halves of each connection, until the test is over.   Thread: main of a test process.
 *  Holds:  (1) what is done is done to the connections that are open; later ones, cancellations among them, pass as through no
 *          proxy at all.  (2) whoever hangs up on one side is hung up on at the other. */

import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Ending } from './engine.ts'
import type { TestPostgres } from './postgres.ts'

export interface FaultyProxy {
  /** As the server's own, by way of here; sessions show this name in pg_stat_activity. */
  readonly url: string
  /** Nothing more comes or goes on the connections that are open. */
  stall(): void
  /** Their server says nothing but zeros from now on, which is no message: libpq gives such a connection up by itself. */
  spoil(): void
}

/** What is sent at once when a connection is spoilt: a few headers' worth. */
const ZEROS = Buffer.alloc(64)

export async function startFaultyProxy(
  t: Ending,
  { server }: TestPostgres,
  name: string,
): Promise<FaultyProxy> {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-proxy-'))
  const upstream = join(server.socketDir, `.s.PGSQL.${server.port}`)
  const pairs = new Set<Pair>()
  const listener = net.createServer(client => {
    const pair = new Pair(client, net.connect(upstream))
    pairs.add(pair)
    pair.onEnd = () => pairs.delete(pair)
  })
  await new Promise<void>(resolve => listener.listen(join(folder, '.s.PGSQL.5432'), resolve))
  t.after(async () => {
    for (const pair of pairs) pair.end()
    await new Promise(resolve => listener.close(resolve))
    rmSync(folder, { recursive: true, force: true })
  })
  const host = encodeURIComponent(folder)
  return {
    url: `postgresql://postgres@/postgres?host=${host}&port=5432&application_name=${name}`,
    stall: () => {
      for (const pair of pairs) pair.isStalled = true
    },
    spoil: () => {
      for (const pair of pairs) pair.spoil()
    },
  }
}

/** One connection: bytes are taken from both sides always, so that the end of either is seen, and passed on or dropped. */
class Pair {
  isStalled = false
  onEnd: () => void = () => {}
  private readonly client: net.Socket
  private readonly server: net.Socket
  private isSpoilt = false

  constructor(client: net.Socket, server: net.Socket) {
    this.client = client
    this.server = server
    client.on('data', (bytes: Buffer) => this.pass(bytes, client, server))
    server.on('data', (bytes: Buffer) => {
      this.pass(this.isSpoilt ? Buffer.alloc(bytes.length) : bytes, server, client)
    })
    for (const socket of [client, server]) {
      socket.on('error', () => this.end())
      socket.on('close', () => this.end())
    }
  }

  spoil(): void {
    this.isSpoilt = true
    this.client.write(ZEROS)
  }

  end(): void {
    this.client.destroy()
    this.server.destroy()
    this.onEnd()
  }

  private pass(bytes: Buffer, from: net.Socket, to: net.Socket): void {
    if (this.isStalled || to.write(bytes)) return
    from.pause()
    to.once('drain', () => from.resume())
  }
}
