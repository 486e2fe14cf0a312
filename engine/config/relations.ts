/** Relations: what must hold between keys, and what no single row can say.
 *  Owns:   LIMITS between keys; the checks that need the finished values.
 *  Thread: main, at start and reload.
 *  Holds:  a default never gets in the way of a value that was set: it is lowered to fit
 *          instead. */

import { ALERT_NAMES } from '../alert_names.ts'
import { DEFAULT_ORIGIN, type Draft } from './draft.ts'
import { PATTERNS } from './keys.ts'
import { editDistance, nearest } from './nearest.ts'
import { quoted } from './secrets.ts'
import { expectedOf, showValue } from './value_types.ts'

interface Limit {
  readonly key: string
  readonly of: string
  readonly most: (other: number) => number
  readonly share: string
  readonly why: string
}

/** `key` is at most `most(of)`. A `*` stands for the same name on both sides. */
export const LIMITS: readonly Limit[] = [
  {
    key: 'memory.max_value_bytes',
    of: 'memory.max_bytes',
    most: bytes => Math.floor(bytes / 8),
    share: 'an eighth of',
    why: 'so that no single entry empties tier 1',
  },
  {
    key: 'cache.max_value_bytes',
    of: 'sqlite.max_bytes',
    most: bytes => Math.floor(bytes / 2),
    share: 'half of',
    why: 'since a value stands in the log before it stands in the file',
  },
  {
    key: 'postgres.*.pool.min',
    of: 'postgres.*.pool.size',
    most: size => size,
    share: 'all of',
    why: 'since a pool keeps no more than its size',
  },
]

/** sockaddr_un has 108 bytes, the last of them for the closing zero. */
const SOCKET_PATH_BYTES_MAX = 107

export function checkRelations(draft: Draft): void {
  for (const limit of LIMITS)
    for (const name of draft.namesIn(limit.key)) checkLimit(draft, limit, name)
  checkRequired(draft)
  checkDependencies(draft)
  checkSocketLength(draft)
  checkListen(draft)
  warnOfTypoPolicies(draft)
  checkAlerts(draft)
}

function checkLimit(draft: Draft, limit: Limit, name: string): void {
  const key = limit.key.replace('*', name)
  const otherKey = limit.of.replace('*', name)
  const other = draft.settings.get(otherKey)
  const setting = draft.settings.get(key)
  if (typeof setting?.value !== 'number' || typeof other?.value !== 'number') return
  const most = limit.most(other.value)
  if (setting.value <= most) return
  const { row, value, origin } = setting
  if (origin.from === 'default') draft.settings.set(key, { row, value: most, origin })
  else {
    const others = `${otherKey} (${showValue(other.value, other.row)}, ${other.origin.where})`
    const expected = `at most ${showValue(most, row)}, ${limit.share} ${others}, ${limit.why}`
    draft.problem(origin, `${key}: found ${showValue(value, row)}, expected ${expected}`)
  }
}

/** A database or service that is mentioned needs its url, from whichever source. */
function checkRequired(draft: Draft): void {
  for (const { key, parts, row } of PATTERNS) {
    if (!row.required) continue
    for (const name of draft.namesIn(key)) {
      const concrete = key.replace('*', name)
      if (draft.mentioned.has(concrete)) continue
      const origin = draft.mentioned.get(`${parts[0]}.${name}`) ?? DEFAULT_ORIGIN
      draft.problem(origin, `${concrete}: missing, expected ${expectedOf(row)}`)
    }
  }
}

/** A service depends on others that there are, or on parts of the engine. */
function checkDependencies(draft: Draft): void {
  const services = draft.namesIn('services.*')
  const databases = draft.namesIn('postgres.*').map(name => `postgres.${name}`)
  const known = [...services, 'memory', 'sqlite', ...databases]
  for (const service of services) {
    const setting = draft.settings.get(`services.${service}.depends_on`)
    for (const name of (setting?.value ?? []) as readonly string[]) {
      if (known.includes(name) && name !== service) continue
      const others = known.filter(each => each !== service).join(', ')
      draft.problem(
        setting!.origin,
        `services.${service}.depends_on: found ${quoted(name)}, expected some of ${others}`,
      )
    }
  }
}

function checkSocketLength(draft: Draft): void {
  const socket = draft.settings.get('engine.socket')
  const bytes = Buffer.byteLength(String(socket?.value ?? ''))
  if (socket === undefined || bytes <= SOCKET_PATH_BYTES_MAX) return
  const expected = `at most ${SOCKET_PATH_BYTES_MAX}, the limit of Unix sockets; set a shorter one`
  draft.problem(
    socket.origin,
    `engine.socket: found a path of ${bytes} bytes, expected ${expected}`,
  )
}

/** An address that others reach is never taken by mistake. */
function checkListen(draft: Draft): void {
  const listen = draft.settings.get('http.listen')
  const words = String(listen?.value ?? 'off')
  const isLocal = /^(off$|127\.|localhost:|\[::1\]:)/.test(words)
  if (listen === undefined || isLocal || draft.settings.get('http.allow_remote')?.value === true)
    return
  const expected = 'an address of loopback, or http.allow_remote = true beside it'
  draft.problem(listen.origin, `http.listen: found ${words}, expected ${expected}`)
}

/** An alert that is named exists, and a channel is enough to have alerts. */
function checkAlerts(draft: Draft): void {
  const channels = ['email.to', 'slack.url', 'pagerduty.key', 'ntfy.url', 'webhook.url']
  const isSet = (key: string) => draft.settings.get(`alerts.${key}`) !== undefined
  for (const [key, origin] of draft.mentioned) {
    const [section, rules, name, ...rest] = key.split('.')
    if (section !== 'alerts' || rules !== 'rules' || name === undefined || rest.length > 0) continue
    if ((ALERT_NAMES as readonly string[]).includes(name)) continue
    draft.problem(
      origin,
      `${key}: there is no such alert, the nearest is ${nearest(name, ALERT_NAMES)}`,
    )
  }
  const enabled = PATTERNS.find(({ key }) => key === 'alerts.enabled')!
  if (!isSet('enabled') && channels.some(isSet))
    draft.settings.set(enabled.key, { row: enabled.row, value: true, origin: DEFAULT_ORIGIN })
}

/** Any name makes a policy, so `sesion` is valid; one edit away from a built-in name it is hardly
 *  meant. */
function warnOfTypoPolicies(draft: Draft): void {
  for (const [key, { row, origin }] of draft.settings) {
    const name = key.slice(key.indexOf('.') + 1)
    if (row.named === undefined || Object.hasOwn(row.named, name)) continue
    const near = Object.keys(row.named).find(known => editDistance(known, name) === 1)
    if (near === undefined) continue
    draft.warnings.push(`${origin.where}: ${key} is a policy of its own; was ttl.${near} meant?`)
  }
}
