/** http_probe: the status that a service answers a GET with, over a socket of our own.
 *  Owns:   nothing.   Not here: TLS (https_probe.ts).   Thread: main; never waits.
 *  Holds:  (1) settles once, within the time given.  (2) of the answer no more is read than its first line, STATUS_LINE_BYTES_MAX. */

import net from 'node:net'

const STATUS_LINE_BYTES_MAX = 1_024

/** `url` is http://host[:port][/prefix] or unix:/path. Rejects with an Error in words for an operator. */
export function probeHttp(url: string, path: string, timeoutMs: number): Promise<number> {
  const { target, host, prefix } = targetOf(url)
  return new Promise((resolve, reject) => {
    const socket = net.connect(target)
    let head = ''
    const end = (error: Error | undefined, status?: number) => {
      clearTimeout(timer)
      socket.destroy()
      if (error === undefined) resolve(status!)
      else reject(error)
    }
    const timer = setTimeout(
      () => end(new Error(`no answer within ${timeoutMs} ms`)),
      timeoutMs,
    ).unref()
    socket.setEncoding('latin1')
    socket.on('connect', () => {
      const lines = [`GET ${prefix}${path} HTTP/1.1`, `Host: ${host}`, 'User-Agent: hearth']
      socket.write(`${lines.join('\r\n')}\r\nAccept: */*\r\nConnection: close\r\n\r\n`)
    })
    socket.on('data', (text: unknown) => {
      head += text as string
      const status = /^HTTP\/1\.[01] (\d{3})(?: [^\r\n]*)?\r?\n/.exec(head)?.[1]
      if (status !== undefined) end(undefined, Number(status))
      else if (head.includes('\n') || head.length > STATUS_LINE_BYTES_MAX)
        end(new Error('what it answers is no HTTP'))
    })
    socket.on('error', (error: NodeJS.ErrnoException) =>
      end(new Error(error.code ?? error.message)),
    )
    socket.on('close', () => end(new Error('it closed the connection without an answer')))
  })
}

function targetOf(url: string): {
  target: { host: string; port: number } | { path: string }
  host: string
  prefix: string
} {
  if (url.startsWith('unix:'))
    return { target: { path: url.slice('unix:'.length) }, host: 'localhost', prefix: '' }
  const { hostname, host, port, pathname } = new URL(url)
  const target = { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 80) }
  return { target, host, prefix: pathname.replace(/\/+$/, '') }
}
