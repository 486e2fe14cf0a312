/** page: the page at `GET /`.
 *  Owns:   its words.   Not here: HTTP (../http_connection.ts), the figures (../routes.ts).
 *  Thread: main.
 *  Holds:  it loads nothing from elsewhere: the engine is enough to show it. */

import type { HttpAnswer } from '../http_connection.ts'

const PATHS = [
  '/metrics',
  '/metrics/json',
  '/series',
  '/health',
  '/health/live',
  '/health/ready',
  '/health/services',
  '/health/circuit-breakers',
  '/health/pools',
  '/health/replication',
]

export function page(): HttpAnswer {
  const items = PATHS.map(path => `<li><a href="${path}">${path}</a></li>`).join('\n')
  const body = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Hearth</title>
<h1>Hearth</h1>
<ul>
${items}
</ul>
</html>
`
  const headers = { 'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'" }
  return { status: 200, type: 'text/html; charset=utf-8', body, headers }
}
