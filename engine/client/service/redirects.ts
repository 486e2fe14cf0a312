/** redirects: exchanges that lead to others.
 *  Owns:   nothing.   Thread: the client's.
 *  Holds:  (1) only GET and HEAD are led on; what would repeat anything else is its caller's to decide.  (2) at most REDIRECTS_MAX,
 *          never to an address that was asked already.  (3) credentials go to no other origin than theirs. */

import { HearthError } from '../../errors.ts'
import type { Exchange } from './answer.ts'
import type { WireRequest } from './wire.ts'

export const REDIRECTS_MAX = 5

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])
const CREDENTIALS = ['authorization', 'cookie', 'proxy-authorization']

export async function followed(
  request: WireRequest,
  exchange: (request: WireRequest) => Promise<Exchange>,
): Promise<Exchange> {
  let current = request
  const asked = new Set([request.url.href])
  for (;;) {
    const answer = await exchange(current)
    const { location } = answer.headers
    const isLed = current.method === 'GET' || current.method === 'HEAD'
    if (!isLed || location === undefined || !REDIRECTS.has(answer.status)) return answer
    current = redirected(current, location)
    const { href } = current.url
    if (asked.has(href)) throw misled(request, `it comes back to ${href}`)
    if (asked.size > REDIRECTS_MAX) throw misled(request, `there are more than ${REDIRECTS_MAX}`)
    asked.add(href)
  }
}

function redirected(request: WireRequest, location: string): WireRequest {
  if (!URL.canParse(location, request.url.href)) throw misled(request, 'one leads to no url')
  const url = new URL(location, request.url.href)
  url.hash = ''
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw misled(request, `one leads to ${url.protocol}`)
  if (url.origin === request.url.origin) return { ...request, url }
  const headers = Object.entries(request.headers).filter(([name]) => !CREDENTIALS.includes(name))
  return { ...request, url, socketPath: undefined, headers: Object.fromEntries(headers) }
}

/** No retry would help. */
class Misled extends HearthError {}

function misled({ method, url }: WireRequest, why: string): HearthError {
  return new Misled(
    'UNAVAILABLE',
    `the redirects of ${method} ${url.href} cannot be followed: ${why}`,
  )
}

export function isMisled(error: unknown): boolean {
  return error instanceof Misled
}
