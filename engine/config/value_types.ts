/** Value types: for each type a key may have, how it is read, written, and described to who got it
 *  wrong.
 *  Owns:   VALUE_TYPES; a new type is one row here.
 *  Thread: main, at start and reload.
 *  Holds:  (1) read(write(value)) gives the value back.  (2) read never throws and never quotes a
 *          secret. */

import { isIPv4, isIPv6 } from 'node:net'
import { resolve } from 'node:path'
import { MASK, maskEndpoint, maskUrl } from './secrets.ts'
import {
  DURATION_EXPECTED,
  durationMs,
  formatDuration,
  formatRate,
  formatSize,
  RATE_EXPECTED,
  rateOf,
  SIZE_EXPECTED,
  sizeBytes,
} from './units.ts'

export type Value = string | number | boolean | readonly string[] | readonly ServerItem[]

/** One of several servers. */
export interface ServerItem {
  readonly name: string
  readonly url: string
  readonly weight: number
}

/** What a row of the schema says about the values of its key. Bounds are written as in the file,
 *  inclusive. */
export interface ValueSpec {
  readonly type: TypeName
  readonly min?: number | string
  readonly max?: number | string
  /** The words of an enum. */
  readonly values?: readonly string[]
  /** A word that stands for "no bound" and reads as Infinity. */
  readonly unbounded?: string
  /** A path without a slash stays as it is: a name that the dynamic loader looks up. */
  readonly bareName?: boolean
}

/** Where a raw value comes from. The environment has only text; an override, from code, counts in
 *  milliseconds. */
export type Source = 'file' | 'environment' | 'override'

export interface ReadContext {
  readonly source: Source
  /** Relative paths start here: the file's own directory, or the working directory. */
  readonly baseDir: string
}

/** Not acceptable; `expected` where there is more to say than the type's own description. */
export class Refused {
  readonly expected: string | undefined
  constructor(expected?: string) {
    this.expected = expected
  }
}

interface ValueType {
  readonly expected: (spec: ValueSpec) => string
  readonly read: (raw: unknown, spec: ValueSpec, context: ReadContext) => Value | Refused
  /** As it stands in the TOML file, without quotes; a list as its items. */
  readonly write: (value: never) => string
  /** Written bare in TOML, not as a quoted string. */
  readonly bare?: true
  readonly mask?: (value: string) => string
}

export const VALUE_TYPES = {
  duration: {
    expected: () => DURATION_EXPECTED,
    // A bare number in a file could be seconds or milliseconds: refused, but for zero.
    read: (raw, _spec, context) =>
      context.source === 'file' && typeof raw === 'number' && raw !== 0
        ? new Refused()
        : numberFrom(raw, durationMs),
    write: formatDuration,
  },
  size: {
    expected: () => SIZE_EXPECTED,
    read: raw => numberFrom(raw, sizeBytes),
    write: formatSize,
  },
  integer: {
    expected: () => 'a whole number',
    read: (raw, _spec, context) =>
      numberFrom(raw, context.source === 'environment' ? wholeNumber : () => undefined),
    write: String,
    bare: true,
  },
  fraction: {
    expected: () => 'a number from 0 to 1, such as 0.8',
    read: raw => {
      const isText = typeof raw === 'string' && /^\d?\.?\d{1,9}$/.test(raw.trim())
      const number = isText ? Number(raw) : raw
      return typeof number === 'number' && number >= 0 && number <= 1 ? number : new Refused()
    },
    write: String,
    bare: true,
  },
  rate: {
    expected: () => RATE_EXPECTED,
    // Kept as text, in one form: that is how it is shown, compared and read again.
    read: raw => {
      const rate = typeof raw === 'string' ? rateOf(raw) : undefined
      return rate === undefined ? new Refused() : formatRate(rate)
    },
    write: String,
  },
  number: {
    expected: () => 'a number, such as 20 or 0.8',
    read: (raw, _spec, context) => {
      const isText = context.source !== 'override' && typeof raw === 'string'
      const number = isText && /^\d{1,15}(\.\d{1,9})?$/.test(raw.trim()) ? Number(raw) : raw
      return typeof number === 'number' && Number.isFinite(number) ? number : new Refused()
    },
    write: String,
    bare: true,
  },
  mode: {
    expected: () => 'file permissions in octal, such as "0660" or 0o660',
    read: raw => numberFrom(raw, octalNumber),
    write: (mode: number) => mode.toString(8).padStart(4, '0'),
  },
  boolean: {
    expected: () => 'true or false',
    read: raw => (typeof raw === 'boolean' ? raw : (BOOLEAN_WORDS.get(raw) ?? new Refused())),
    write: String,
    bare: true,
  },
  enum: {
    expected: spec => `one of ${spec.values?.join(', ')}`,
    read: (raw, spec) =>
      (typeof raw === 'string' && spec.values?.find(sameWord(raw))) || new Refused(),
    write: String,
  },
  string: {
    expected: () => 'a text without control characters',
    read: plainText,
    write: String,
  },
  path: {
    expected: () => 'a path',
    read: (raw, spec, context) => {
      const text = plainText(raw)
      if (text instanceof Refused || (spec.bareName && !text.includes('/'))) return text
      return resolve(context.baseDir, text)
    },
    write: String,
  },
  url: {
    expected: () => 'a url such as postgres://user:password@host:5432/database',
    read: postgresUrl,
    write: String,
    mask: maskUrl,
  },
  http_url: {
    expected: () => HTTP_URL_EXPECTED,
    read: httpUrl,
    write: String,
  },
  list: {
    expected: () => 'an array of texts, or one text with commas between them',
    read: raw => {
      const items: unknown = typeof raw === 'string' ? raw.split(',').map(item => item.trim()) : raw
      if (!Array.isArray(items)) return new Refused()
      return items.some(item => plainText(item) instanceof Refused) ? new Refused() : items
    },
    write: (items: readonly string[]) => items.join(', '),
  },
  listen: {
    expected: () => 'an address with a port, such as 127.0.0.1:9464 or [::1]:9464, or off',
    read: listenWords,
    write: String,
  },
  endpoint: {
    expected: ({ values = [] }) =>
      `a url that begins with ${values.map(each => `${each}//`).join(' or ')}`,
    read: endpointUrl,
    write: String,
    mask: maskEndpoint,
  },
  secret: {
    expected: () => 'a text without control characters',
    read: plainText,
    write: String,
    mask: text => (text === '' ? '' : MASK),
  },
  servers: {
    expected: () => SERVERS_EXPECTED,
    read: serverItems,
    write: (items: readonly ServerItem[]) => items.map(({ url }) => url).join(', '),
    mask: text => text.split(', ').map(maskUrl).join(', '),
  },
} as const satisfies Record<string, ValueType>

export type TypeName = keyof typeof VALUE_TYPES

/** The value, checked against type and bounds, or what was expected instead, in words. */
export function readValue(raw: unknown, spec: ValueSpec, context: ReadContext): Value | Refused {
  if (spec.unbounded !== undefined && (raw === spec.unbounded || raw === Infinity)) return Infinity
  const value = typeOf(spec).read(raw, spec, context)
  if (value instanceof Refused) return new Refused(value.expected ?? expectedOf(spec))
  if (typeof value === 'number') {
    if (value < boundOf(spec, 'min') || value > boundOf(spec, 'max'))
      return new Refused(expectedOf(spec))
  }
  return value
}

/** As the user would write it, without quotes; not masked. */
export function writeValue(value: Value | undefined, spec: ValueSpec): string {
  if (value === undefined) return ''
  if (value === Infinity) return spec.unbounded ?? String(value)
  return typeOf(spec).write(value as never)
}

/** The same as anyone may see it. */
export function showValue(value: Value | undefined, spec: ValueSpec): string {
  const text = writeValue(value, spec)
  // Whatever the type: somebody may have pasted a url where a name or a path belongs.
  return (typeOf(spec).mask ?? maskUrl)(text)
}

/** As it stands after the `=` of a TOML file. JSON's string escapes are TOML's, too. */
export function tomlValue(text: string, spec: ValueSpec): string {
  return typeOf(spec).bare && text !== spec.unbounded ? text : JSON.stringify(text)
}

/** The type's description with the row's bounds: `a size such as …, from 1MiB to 1GiB`. */
export function expectedOf(spec: ValueSpec): string {
  const { min, max, unbounded } = spec
  const bounds = [min === undefined ? '' : `from ${min}`, max === undefined ? '' : `up to ${max}`]
  const parts = [typeOf(spec).expected(spec), bounds.filter(Boolean).join(' ')]
  if (unbounded !== undefined) parts.push(`or "${unbounded}"`)
  return parts.filter(Boolean).join(', ')
}

/** The table seen through its interface: a union of ten row types has no common call signature. */
function typeOf(spec: ValueSpec): ValueType {
  return VALUE_TYPES[spec.type]
}

/** A bound in the unit of the value; without one, any number that is not negative. */
function boundOf(spec: ValueSpec, side: 'min' | 'max'): number {
  const bound = spec[side] ?? (side === 'min' ? 0 : Number.MAX_SAFE_INTEGER)
  const number = typeOf(spec).read(bound, spec, { source: 'override', baseDir: '/' })
  return typeof number === 'number' ? number : Number.NaN
}

function numberFrom(raw: unknown, parse: (text: string) => number | undefined): number | Refused {
  const number = typeof raw === 'string' ? parse(raw) : raw
  return typeof number === 'number' && Number.isSafeInteger(number) ? number : new Refused()
}

function wholeNumber(text: string): number | undefined {
  return /^\d{1,16}$/.test(text.trim()) ? Number(text) : undefined
}

function octalNumber(text: string): number | undefined {
  return /^(?:0o?)?[0-7]{3}$/.test(text.trim())
    ? Number.parseInt(text.trim().replace('o', ''), 8)
    : undefined
}

/** Both spellings of systemd's unit files and of Postgres. */
const BOOLEAN_WORDS: ReadonlyMap<unknown, boolean> = new Map([
  ...['true', 'on', 'yes', '1'].map(word => [word, true] as const),
  ...['false', 'off', 'no', '0'].map(word => [word, false] as const),
])

function sameWord(raw: string): (word: string) => boolean {
  return word => word.toLowerCase() === raw.trim().toLowerCase()
}

const TEXT_CHARS_MAX = 4_096

function plainText(raw: unknown): string | Refused {
  if (typeof raw !== 'string' || raw.trim() === '' || raw.length > TEXT_CHARS_MAX)
    return new Refused()
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused here.
  return /[\0-\x1f\x7f]/.test(raw) ? new Refused() : raw
}

/** Only what would fail for certain is refused; the rest is libpq's to judge. Says nothing of what
 *  it found, since an unescaped `/` or `@` in a password makes any part of the url look like
 *  another. */
function postgresUrl(raw: unknown): string | Refused {
  const url = plainText(raw)
  if (url instanceof Refused || !/^postgres(ql)?:\/\/\S*$/.test(url)) return new Refused()
  const authority = /\/\/([^/?#]*)/.exec(url)![1]!
  // libpq ends the password at the first @, so that with a second one the host's name would hold
  // the rest.
  const [hosts, ...credentials] = authority.split('@').reverse()
  const isSound = credentials.length <= 1 && hosts!.split(',').every(hasSoundPort)
  return isSound ? url : new Refused(HOSTS_EXPECTED)
}

const HTTP_URL_EXPECTED =
  'a url such as http://127.0.0.1:8001, https://host/prefix or unix:/run/service.sock, without user, query or fragment'

function httpUrl(raw: unknown): string | Refused {
  const text = plainText(raw)
  if (text instanceof Refused) return text
  if (/^unix:\/[^\s]+$/.test(text)) return text
  if (!/^https?:\/\/[^\s\\]+$/.test(text) || !URL.canParse(text)) return new Refused()
  const { username, password, search, hash } = new URL(text)
  return username + password + search + hash === '' ? text : new Refused()
}

const HOSTS_EXPECTED =
  'a host with a port up to 65535, and in the password @ : / written as %40 %3A %2F'

function hasSoundPort(host: string): boolean {
  const port = /^(?:\[[^\]]*\]|[^:]*)(?::(\d*))?$/.exec(host)
  return port !== null && Number(port[1] ?? 0) <= 65_535
}

/** `off`, or an address and a port; port 0: any that is free. */
function listenWords(raw: unknown): string | Refused {
  if (raw === false) return 'off'
  const words = plainText(raw)
  if (words instanceof Refused || words === 'off') return words
  const parts = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(words)
  if (parts === null || Number(parts[3]) > 65_535) return new Refused()
  const [, six, other] = parts
  return (six !== undefined ? isIPv6(six) : other === 'localhost' || isIPv4(other!))
    ? words
    : new Refused()
}

function endpointUrl(raw: unknown, { values = [] }: ValueSpec): string | Refused {
  const text = plainText(raw)
  if (text instanceof Refused) return text
  const url = URL.canParse(text) ? new URL(text) : undefined
  return url !== undefined && values.includes(url.protocol) && url.hostname !== ''
    ? text
    : new Refused()
}

const SERVERS_EXPECTED =
  'urls such as postgres://user:password@host:5432/database, or tables { url, name, weight }'
const SERVER_COUNT_MAX = 64

/** Items without a name are called 1, 2, 3 … by their place. */
function serverItems(raw: unknown): readonly ServerItem[] | Refused {
  const items: unknown = typeof raw === 'string' ? raw.split(/,\s*(?=postgres)/) : raw
  if (!Array.isArray(items) || items.length === 0) return new Refused()
  if (items.length > SERVER_COUNT_MAX) return new Refused()
  const servers: ServerItem[] = []
  for (const [i, item] of items.entries()) {
    const table = typeof item === 'string' ? { url: item } : item
    if (table === null || typeof table !== 'object') return new Refused()
    const { url, name = String(i + 1), weight = 1, ...rest } = table as Record<string, unknown>
    const known = postgresUrl(url)
    if (known instanceof Refused) return known
    const isSound = typeof name === 'string' && /^[A-Za-z0-9_-]{1,32}$/.test(name) && name !== 'url'
    if (!isSound || Object.keys(rest).length > 0) return new Refused()
    if (typeof weight !== 'number' || !(weight > 0)) return new Refused()
    if (servers.some(server => server.name === name)) return new Refused()
    servers.push({ name, url: known, weight })
  }
  return servers
}
