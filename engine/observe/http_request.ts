/** http_request: the head of an HTTP/1.1 request, read strictly: GET and HEAD, no body.
 *  Owns:   nothing.   Not here: the connection (http_connection.ts), what is answered (routes.ts).
 *  Thread: main.
 *  Holds:  what two readers could read differently is refused: bare LF, folded lines, spaces before a colon, a second Host, a length
 *          or an encoding of a body (RFC 9112, sections 2.2, 3.2, 5.1, 6.1). */

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD'
  /** Without the query. */
  readonly path: string
  readonly query: URLSearchParams
  /** As in the header, lower case, with its port; '' in HTTP/1.0 without one. */
  readonly host: string
  readonly keepsAlive: boolean
  /** The ETags that whoever asks has already, as in the header; '' without one. */
  readonly ifNoneMatch: string
}

/** Why a request is refused: a status, and words for whoever sent it. */
export class HttpRefusal {
  readonly status: number
  readonly words: string
  constructor(status: number, words: string) {
    this.status = status
    this.words = words
  }
}

const REQUEST_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP\/(\d)\.(\d)$/
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)$/

/** `head`: the lines up to the empty one, without it, as latin1. */
export function readRequest(head: string): HttpRequest | HttpRefusal {
  const [line = '', ...fields] = head.split('\r\n')
  const parts = REQUEST_LINE.exec(line)
  if (parts === null) return new HttpRefusal(400, 'not an HTTP request')
  const [, method, target, major, minor] = parts
  if (major !== '1') return new HttpRefusal(505, 'HTTP/1.1 is spoken here')
  const headers = readFields(fields)
  if (headers instanceof HttpRefusal) return headers
  const hasBody = headers.has('transfer-encoding') || (headers.get('content-length') ?? '0') !== '0'
  if (method !== 'GET' && method !== 'HEAD')
    return new HttpRefusal(405, 'GET and HEAD alone: nothing can be changed over HTTP')
  if (hasBody) return new HttpRefusal(400, 'a request has no body here')
  const absolute = /^http:\/\/([^/?#]*)(.*)$/i.exec(target!)
  const host = (absolute?.[1] ?? headers.get('host') ?? '').toLowerCase()
  if (minor !== '0' && !headers.has('host'))
    return new HttpRefusal(400, 'the Host header is missing')
  const [path = '', query = ''] = (absolute === null ? target! : absolute[2] || '/').split('?', 2)
  if (!path.startsWith('/')) return new HttpRefusal(400, 'the target is to be a path')
  const connection = (headers.get('connection') ?? '').toLowerCase()
  const keepsAlive =
    minor === '0' ? /\bkeep-alive\b/.test(connection) : !/\bclose\b/.test(connection)
  const ifNoneMatch = headers.get('if-none-match') ?? ''
  return { method, path, query: new URLSearchParams(query), host, keepsAlive, ifNoneMatch }
}

/** By lower-case name. Of what matters here nothing may come twice. */
function readFields(lines: readonly string[]): Map<string, string> | HttpRefusal {
  const headers = new Map<string, string>()
  for (const line of lines) {
    const parts = FIELD.exec(line)
    if (parts === null) return new HttpRefusal(400, 'a header is malformed')
    const name = parts[1]!.toLowerCase()
    const isTwice = headers.has(name) && /^(host|content-length|transfer-encoding)$/.test(name)
    if (isTwice) return new HttpRefusal(400, `the header ${name} stands there twice`)
    headers.set(name, parts[2]!.trimEnd())
  }
  return headers
}
