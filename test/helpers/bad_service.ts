/** bad_service: an HTTP service that stalls, cuts, lies and repeats itself, as its paths say; a process of its own.
 *  Owns:   its port, and what was asked of it, by path.   Thread: main of a child process; badService() starts it.
 *  Holds:  it ends with its parent.
 *
 *  It speaks HTTP over sockets by hand where a server of Node's would not lie. GET /counts tells what was asked, and how many
 *  connections there were; GET /mode?fail=… makes /moody fail or not. */

import { type ChildProcess, spawn } from 'node:child_process'
import http from 'node:http'
import type { Socket } from 'node:net'
import { gzipSync } from 'node:zlib'

export interface Counts {
  readonly paths: Record<string, number>
  readonly connections: number
  readonly headers: Record<string, string>
}

export interface BadService {
  readonly url: string
  readonly pid: number
  counts(): Promise<Counts>
  /** Whether /moody and /health answer 500. */
  fail(isFailing: boolean): Promise<void>
  kill(signal: NodeJS.Signals): void
}

/** Starts one, ended with the test. */
export async function badService(
  t: { after(end: () => void): void },
  port = 0,
): Promise<BadService> {
  const child = spawn(process.execPath, [import.meta.filename, String(port)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  t.after(() => void child.kill('SIGKILL'))
  const url = `http://127.0.0.1:${await firstLine(child)}`
  const ask = async (path: string) => (await fetch(url + path)).json()
  return {
    url,
    pid: child.pid!,
    counts: () => ask('/counts') as Promise<Counts>,
    fail: async isFailing => void (await ask(`/mode?fail=${isFailing}`)),
    kill: signal => void child.kill(signal),
  }
}

function firstLine(child: ChildProcess): Promise<string> {
  return new Promise(resolve => {
    let text = ''
    child.stdout!.on('data', data => {
      text += data
      if (text.includes('\n')) resolve(text.trim())
    })
  })
}

const LARGE_BYTES = 100 * 1024 * 1024

type Way = (answer: http.ServerResponse, request: http.IncomingMessage, count: number) => void

function serve(): void {
  const paths: Record<string, number> = {}
  let headers: http.IncomingHttpHeaders = {}
  let connections = 0
  let isFailing = false
  const json = (answer: http.ServerResponse, value: unknown, more: object = {}) => {
    answer.writeHead(200, { 'content-type': 'application/json', ...more })
    answer.end(JSON.stringify(value))
  }
  const raw = (answer: http.ServerResponse, text: string): Socket => {
    const socket = answer.socket as Socket
    socket.write(text)
    return socket
  }
  const status = (answer: http.ServerResponse, code: number, more: object = {}) => {
    answer.writeHead(code, more as http.OutgoingHttpHeaders)
    answer.end(String(code))
  }
  const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024))
  const ways: Record<string, Way> = {
    '/fine': (answer, request) => json(answer, { method: request.method }),
    '/echo': (answer, request) => {
      const pieces: Buffer[] = []
      request.on('data', piece => pieces.push(piece))
      request.on('end', () =>
        json(answer, { body: Buffer.concat(pieces).toString(), headers: request.headers }),
      )
    },
    '/moody': answer => (isFailing ? status(answer, 500) : json(answer, {})),
    '/health': answer => status(answer, isFailing ? 500 : 204),
    '/stall': () => undefined,
    '/stall-in-body': answer =>
      void raw(answer, 'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nten bytes.'),
    '/cut': answer => void (answer.socket as Socket).destroy(),
    '/cut-in-body': answer => {
      raw(answer, 'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nten bytes.').end()
    },
    '/cut-in-chunk': answer => {
      raw(answer, 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\nten bytes.').end()
    },
    '/too-short': answer =>
      void raw(answer, 'HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nten bytes.'),
    '/garbage': answer => raw(answer, 'hello, I am no HTTP\r\n\r\n').end(),
    '/long-head': answer =>
      raw(answer, `HTTP/1.1 200 OK\r\nx: ${'x'.repeat(100_000)}\r\n\r\n`).end(),
    '/once-a-connection': answer => {
      const socket = answer.socket as Socket & { wasUsed?: boolean }
      if (socket.wasUsed) return void socket.destroy()
      socket.wasUsed = true
      json(answer, {})
    },
    '/once-cut': (answer, _request, count) =>
      count === 1 ? void (answer.socket as Socket).destroy() : json(answer, { count }),
    '/twice-503': (answer, _request, count) =>
      count <= 2 ? status(answer, 503) : json(answer, { count }),
    '/wait-1s': (answer, _request, count) =>
      count === 1 ? status(answer, 503, { 'retry-after': '1' }) : json(answer, { count }),
    '/wait-date': (answer, _request, count) => {
      const date = new Date(Date.now() + 2_000).toUTCString()
      if (count === 1) status(answer, 429, { 'retry-after': date })
      else json(answer, { count })
    },
    '/wait-long': answer => status(answer, 503, { 'retry-after': '3600' }),
    '/loop': answer => status(answer, 302, { location: '/loop-back' }),
    '/loop-back': answer => status(answer, 302, { location: '/loop' }),
    '/moved': answer => status(answer, 301, { location: '/fine?moved' }),
    '/endless': (answer, _request, count) => status(answer, 302, { location: `/endless?${count}` }),
    '/to-file': answer => status(answer, 302, { location: 'file:///etc/passwd' }),
    '/away': (answer, request) => {
      const other = (request.headers.host as string).replace('127.0.0.1', 'localhost')
      status(answer, 302, { location: `http://${other}/echo` })
    },
    '/large': answer => {
      answer.writeHead(200)
      const piece = Buffer.alloc(64 * 1024)
      let left = LARGE_BYTES
      const more = (): void => {
        while (left > 0) {
          left -= piece.length
          if (!answer.write(piece)) return void answer.once('drain', more)
        }
        answer.end()
      }
      more()
    },
    '/announced-large': answer =>
      answer.writeHead(200, { 'content-length': LARGE_BYTES }).flushHeaders(),
    '/bomb': answer => {
      answer.writeHead(200, { 'content-encoding': 'gzip' })
      answer.end(bomb)
    },
    '/gzip': answer => {
      answer.writeHead(200, { 'content-encoding': 'gzip' })
      answer.end(gzipSync('{"was":"zipped"}'))
    },
    '/empty-gzip': answer => answer.writeHead(200, { 'content-encoding': 'gzip' }).end(),
    '/nothing-zipped': answer => answer.writeHead(204, { 'content-encoding': 'gzip' }).end(),
    '/large-file': answer => answer.writeHead(200, { 'content-length': 2 ** 40 }).end(),
    '/odd-encoding': answer => {
      answer.writeHead(200, { 'content-encoding': 'constructor' }).end('as it is')
    },
    '/no-gzip': answer => {
      answer.writeHead(200, { 'content-encoding': 'gzip' })
      answer.end('plain text, whatever I say')
    },
    '/slow-first': (answer, _request, count) => {
      setTimeout(() => json(answer, { count }), count === 1 ? 2_000 : 0)
    },
    '/slow': answer => void setTimeout(() => json(answer, {}), 300),
    '/for-60s': (answer, _request, count) =>
      json(answer, { count }, { 'cache-control': 'max-age=60' }),
    '/private': (answer, _request, count) =>
      json(answer, { count }, { 'cache-control': 'private, max-age=60' }),
    '/for-1s-stale': (answer, _request, count) => {
      if (isFailing) status(answer, 500)
      else json(answer, { count }, { 'cache-control': 'max-age=1, stale-if-error=60' })
    },
    '/etag': (answer, request, count) => {
      const more = { etag: '"same"', 'cache-control': 'no-cache' }
      if (request.headers['if-none-match'] === '"same"') answer.writeHead(304, more).end()
      else json(answer, { count }, more)
    },
    '/vary': (answer, request) => {
      const more = { 'cache-control': 'max-age=60', vary: 'accept-language, x-unit' }
      const { 'accept-language': language, 'x-unit': unit } = request.headers
      json(answer, { language, unit, nr: paths['/vary'] }, more)
    },
  }
  const server = http.createServer((request, answer) => {
    const { pathname, searchParams } = new URL(request.url!, 'http://any')
    if (pathname === '/counts') return json(answer, { paths, connections, headers })
    if (pathname === '/mode') {
      isFailing = searchParams.get('fail') === 'true'
      return json(answer, {})
    }
    headers = request.headers
    paths[pathname] = (paths[pathname] ?? 0) + 1
    const way = ways[pathname]
    if (way === undefined) status(answer, 404)
    else way(answer, request, paths[pathname])
  })
  server.on('connection', () => connections++)
  server.keepAliveTimeout = 60_000
  server.listen(Number(process.argv[2]), '127.0.0.1', () => {
    process.stdout.write(`${(server.address() as { port: number }).port}\n`)
  })
  process.stdin.on('end', () => process.exit(0)).resume()
}

if (process.argv[1] === import.meta.filename) serve()
