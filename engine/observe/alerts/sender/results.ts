/** results: errors and answers in words that may be logged.
 *  Owns:   nothing.   Thread: the sender's main.
 *  Holds:  nothing that is configured as secret, or a part of it that could be one, is in an answer. */

import type { SendResult } from '../message.ts'

const ANSWER_CHARS_MAX = 200
const SECRET_CHARS_MIN = 4

/** A connection that failed, or anything that was thrown: trying again may help. */
export function failed(error: unknown): SendResult {
  const cause = (error as { cause?: unknown }).cause ?? error
  const { code, message } = cause as { code?: string; message?: string }
  const words = [code, message].filter(Boolean).join(': ') || String(error)
  return { isSent: false, isRetryable: true, answer: words }
}

/** On one line, cut, and with each secret of the channel's options taken out. */
export function withoutSecrets(answer: string, options: unknown): string {
  let text = answer
  for (const secret of secretsIn(options)) text = text.replaceAll(secret, '****')
  return text.replaceAll(/\s+/g, ' ').trim().slice(0, ANSWER_CHARS_MAX)
}

/** Texts that are options, and the path, query, user and password of urls; longer ones first. */
function secretsIn(options: unknown): string[] {
  const secrets: string[] = []
  for (const [name, value] of Object.entries((options ?? {}) as Record<string, unknown>)) {
    if (typeof value !== 'string' || name === 'from') continue
    secrets.push(value)
    if (!URL.canParse(value)) continue
    const { pathname, search, username, password } = new URL(value)
    const parts = [pathname + search, pathname, password, username]
    secrets.push(...parts, ...parts.map(part => decodeURIComponent(part)))
    const encoded = Buffer.from(
      `\0${decodeURIComponent(username)}\0${decodeURIComponent(password)}`,
    )
    secrets.push(encoded.toString('base64'))
  }
  return secrets
    .filter(each => each.length >= SECRET_CHARS_MIN)
    .toSorted((a, b) => b.length - a.length)
}
