/** http_channels: what Slack, PagerDuty, ntfy and a webhook are sent, each in its own form.
 *  Owns:   the forms.   Not here: mail (email.ts).
 *  Thread: the sender's main.
 *  Holds:  (1) 2xx is sent; 408, 429 and 5xx may be tried again, anything else is a refusal; a redirect is one.
 *          (2) one answer is read no further than ANSWER_BYTES_MAX. */

import type { AlertMessage, ChannelName, ChannelOptions, SendResult } from '../message.ts'
import { failed } from './results.ts'
import type { Send } from './send.ts'

type HttpChannel = (channels: ChannelOptions, timeoutMs: number) => Send

const ANSWER_BYTES_MAX = 16 * 1024
const COLORS = { critical: '#d40e0d', warning: '#e8a317', resolved: '#2eb67d' } as const

export const HTTP_CHANNELS: Readonly<Record<Exclude<ChannelName, 'email'>, HttpChannel>> = {
  slack:
    ({ slack }, timeoutMs) =>
    message =>
      post(slack!.url, {}, JSON.stringify(slackBody(message)), timeoutMs),

  pagerduty:
    ({ pagerduty }, timeoutMs) =>
    message =>
      post(pagerduty!.url, {}, JSON.stringify(pagerdutyBody(pagerduty!.key, message)), timeoutMs),

  ntfy:
    ({ ntfy }, timeoutMs) =>
    message =>
      post(
        ntfy!.url,
        { ...ntfyHeaders(message), ...bearer(ntfy!.token) },
        textOf(message),
        timeoutMs,
      ),

  webhook:
    ({ webhook }, timeoutMs) =>
    message =>
      post(webhook!.url, bearer(webhook!.token), JSON.stringify(message), timeoutMs),
}

/** `CRITICAL home: Postgres main cannot be reached`. */
export function titleOf({ kind, severity, host, summary }: AlertMessage): string {
  const word = kind === 'firing' ? severity.toUpperCase() : kind.toUpperCase()
  return `${word} ${host}: ${summary}`
}

/** What stands below the title: what to do, and what else is to be known. */
export function textOf({
  kind,
  advice,
  note,
  sinceMs,
  atMs,
  alert,
  subject,
}: AlertMessage): string {
  const name = subject === '' ? alert : `${alert} (${subject})`
  const since = `Since ${new Date(sinceMs).toISOString()}`
  const times = kind === 'resolved' ? `${since}, over at ${new Date(atMs).toISOString()}` : since
  return [kind === 'resolved' ? '' : advice, note ?? '', `${times}. Alert: ${name}.`]
    .filter(Boolean)
    .join('\n')
}

function slackBody(message: AlertMessage): object {
  const color = message.kind === 'resolved' ? COLORS.resolved : COLORS[message.severity]
  const title = escaped(titleOf(message))
  const section = (text: string) => ({ type: 'section', text: { type: 'mrkdwn', text } })
  const blocks = [section(`*${title}*`), section(escaped(textOf(message)))]
  return { text: title, attachments: [{ color, blocks }] }
}

/** Slack's three signs: https://api.slack.com/reference/surfaces/formatting#escaping */
function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

/** https://developer.pagerduty.com/docs/events-api-v2/trigger-events/ */
function pagerdutyBody(key: string, message: AlertMessage): object {
  const { kind, id, severity, host, alert, subject, sinceMs, value, threshold, unit } = message
  const event = { routing_key: key, dedup_key: id.slice(0, 255), client: 'Hearth' }
  if (kind === 'resolved') return { ...event, event_action: 'resolve' }
  const details = { advice: message.advice, note: message.note, value, threshold, unit }
  const payload = {
    summary: titleOf(message).slice(0, 1_024),
    source: host,
    severity: kind === 'test' ? 'info' : severity,
    timestamp: new Date(sinceMs).toISOString(),
    component: subject === '' ? 'hearth' : subject,
    class: alert,
    custom_details: details,
  }
  return { ...event, event_action: 'trigger', payload }
}

/** https://docs.ntfy.sh/publish/: headers beyond ASCII are taken as RFC 2047. */
function ntfyHeaders(message: AlertMessage): Record<string, string> {
  const { kind, severity } = message
  const priority = kind === 'resolved' || kind === 'test' ? 'default' : PRIORITIES[severity]
  const tag =
    kind === 'resolved'
      ? 'white_check_mark'
      : severity === 'critical'
        ? 'rotating_light'
        : 'warning'
  const title = Buffer.from(titleOf(message).slice(0, 250)).toString('base64')
  return {
    Title: `=?UTF-8?B?${title}?=`,
    Priority: priority,
    Tags: tag,
    'Content-Type': 'text/plain; charset=utf-8',
  }
}

const PRIORITIES = { critical: 'urgent', warning: 'high' } as const

function bearer(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { Authorization: `Bearer ${token}` }
}

async function post(
  url: string,
  headers: Record<string, string>,
  body: string,
  timeoutMs: number,
): Promise<SendResult> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'User-Agent': 'hearth', ...headers },
      body,
      redirect: 'manual',
      signal: AbortSignal.timeout(timeoutMs),
    })
    const { status, ok } = response
    const text = await beginningOf(response)
    const answer = [String(status), ok ? '' : text].filter(Boolean).join(' ')
    return { isSent: ok, isRetryable: status === 408 || status === 429 || status >= 500, answer }
  } catch (error) {
    return failed(error)
  }
}

async function beginningOf(response: Response): Promise<string> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of response.body ?? []) {
    parts.push(part)
    bytes += part.byteLength
    if (bytes > ANSWER_BYTES_MAX) break
  }
  return Buffer.concat(parts).toString('utf8')
}
