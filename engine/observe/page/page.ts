/** page: the files of the page at `GET /`: read from dist/page/ when they are asked for.
 *  Owns:   which files there are, how a browser may keep them and what they may load.   Not here: the page itself (browser/), HTTP.
 *  Thread: main.
 *  Holds:  (1) nothing of them stays in memory.  (2) the page loads its own files alone: no script in its text, none from elsewhere.
 *          (3) a browser keeps a file, and asks each time whether it is still this one. */

import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { PACKAGE_ROOT } from '../../paths.ts'
import { type HttpAnswer, textAnswer } from '../http_connection.ts'

const TYPES = {
  'index.html': 'text/html; charset=utf-8',
  'page.js': 'text/javascript; charset=utf-8',
  'page.css': 'text/css; charset=utf-8',
  'icon.svg': 'image/svg+xml',
} as const

export type PageFile = keyof typeof TYPES

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** One of the page's files, or 304 when `ifNoneMatch` names it as it is. 503 when the package was not built. */
export async function pageFile(name: PageFile, ifNoneMatch: string): Promise<HttpAnswer> {
  const path = join(PACKAGE_ROOT, 'dist', 'page', name)
  try {
    const { mtimeMs, size } = await stat(path)
    const etag = `"${Math.floor(mtimeMs).toString(36)}-${size.toString(36)}"`
    const headers = {
      'Cache-Control': 'no-cache',
      'Content-Security-Policy': POLICY,
      'Referrer-Policy': 'no-referrer',
      ETag: etag,
    }
    const isSame = ifNoneMatch.split(',').some(each => each.trim().replace(/^W\//, '') === etag)
    const type = TYPES[name]
    if (isSame) return { status: 304, type, body: '', headers: { ...headers, ...lengthOf(size) } }
    return { status: 200, type, body: await readFile(path), headers }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return textAnswer(503, 'the page was not built: run `npm run build`')
  }
}

/** Of the body that is not sent. */
function lengthOf(size: number): Record<string, string> {
  return { 'Content-Length': String(size) }
}
