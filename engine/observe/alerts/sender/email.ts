/** email: an alert as a mail, by SMTP.
 *  Owns:   one connection a message.   Not here: the words (http_channels.ts).
 *  Thread: the sender's main.
 *  Holds:  (1) a password never goes over a connection without TLS, but to this host itself.  (2) what the server refuses for good
 *          (5xx) is not tried again. */

import nodemailer from 'nodemailer'
import type { AlertMessage, ChannelOptions } from '../message.ts'
import { textOf, titleOf } from './http_channels.ts'
import { failed } from './results.ts'
import type { Send } from './send.ts'

const PORTS: Readonly<Record<string, number>> = { 'smtps:': 465, 'smtp:': 587 }
const LOCAL = /^(localhost|127\.|\[::1\])/

export function openEmail(
  { server, from, to }: NonNullable<ChannelOptions['email']>,
  timeoutMs: number,
): Send {
  const { protocol, hostname, port, username, password } = new URL(server)
  const user = decodeURIComponent(username)
  const transport = nodemailer.createTransport({
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? PORTS[protocol]! : Number(port),
    secure: protocol === 'smtps:',
    requireTLS: protocol === 'smtp:' && user !== '' && !LOCAL.test(hostname),
    ...(user === '' ? {} : { auth: { user, pass: decodeURIComponent(password) } }),
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  return async message => {
    try {
      const { response } = await transport.sendMail(mailOf(message, from, to))
      return { isSent: true, isRetryable: false, answer: response }
    } catch (error) {
      const { responseCode = 0 } = error as { responseCode?: number }
      // 535 is a wrong password: a refusal too.
      return { ...failed(error), isRetryable: responseCode < 500 }
    } finally {
      transport.close()
    }
  }
}

/** Mails about one alert are one thread. */
function mailOf(message: AlertMessage, from: string, to: readonly string[]): object {
  const thread = `<${Buffer.from(`${message.id}/${message.sinceMs}`).toString('hex')}@hearth>`
  const isFirst = message.kind === 'firing' || message.kind === 'test'
  return {
    from,
    to: [...to],
    subject: titleOf(message),
    text: textOf(message),
    headers: {
      'Auto-Submitted': 'auto-generated',
      'X-Hearth-Alert': message.alert,
      ...(message.severity === 'critical' ? { 'X-Priority': '1' } : {}),
    },
    ...(isFirst ? { messageId: thread } : { inReplyTo: thread, references: thread }),
  }
}
