/** Secrets: what may be shown of a value that may hold a password.
 *  Owns:   the masks.   Thread: any.
 *  Holds:  (1) a masked url holds no password, in its user part or its parameters.
 *          (2) Masking errs towards hiding too much: it never depends on the url being well
 *          formed. */

export const MASK = '****'
const SHOWN_CHARS_MAX = 60

/** `postgres://user:****@host/db`. All from the first `:` to the last `@` goes: either may stand in
 *  a password. */
export function maskUrl(url: string): string {
  return url
    .replace(/(\/\/[^:]*:)[\s\S]*@/, `$1${MASK}@`)
    .replace(/((?:password|passwd|secret|token)[^=&]*=)[^&]*/gi, `$1${MASK}`)
}

/** `https://hooks.slack.com/****`: a webhook's path is as good as a password. */
export function maskEndpoint(url: string): string {
  if (!URL.canParse(url)) return url === '' ? '' : MASK
  const { protocol, host } = new URL(url)
  return `${protocol}//${host}/${MASK}`
}

/** A found value as a message may quote it: short, on one line, and nothing at all where a secret
 *  could be. */
export function quoted(value: unknown): string {
  if (typeof value === 'string') {
    if (mayHoldSecret(value)) return 'a text that is not shown, since it may hold a password'
    const short = value.length > SHOWN_CHARS_MAX ? value.slice(0, SHOWN_CHARS_MAX) + '…' : value
    return JSON.stringify(short)
  }
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (value instanceof Date) return 'a date'
  if (Array.isArray(value)) return 'an array'
  return value !== null && typeof value === 'object' ? 'a table' : String(typeof value)
}

/** A key as a message may quote it: someone may have pasted a url where a key belongs. */
export function quotedKey(key: string): string {
  return /:\/\/|@/.test(key) ? '(a key that is not shown)' : key.slice(0, SHOWN_CHARS_MAX * 2)
}

function mayHoldSecret(text: string): boolean {
  return /:\/\/|@|passw|pwd|secret|token/i.test(text)
}
