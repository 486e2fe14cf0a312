/** alert_receivers: places that alerts are sent to: an HTTP and an SMTP server that take notes, and fail when told to.
 *  Owns:   the servers; both are closed when the test is over.   Thread: main of a test process.
 *  Holds:  behaviours are used up in order, one a request; after the last, all is well. */

import { createServer as createHttpServer, type IncomingHttpHeaders } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { Ending } from './engine.ts'
import { until } from './postgres_pool.ts'

/** A status; `slow`: no answer; `cut`: the connection ends. */
export type Behaviour = number | 'slow' | 'cut'

export interface Received {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export interface Receiver<Item> {
  readonly url: string
  readonly received: Item[]
  /** All attempts, those that failed among them. */
  attempts: number
  next(...behaviours: Behaviour[]): void
  untilReceived(count: number): Promise<void>
}

export async function httpReceiver(t: Ending): Promise<Receiver<Received>> {
  const behaviours: Behaviour[] = []
  const server = createHttpServer((request, response) => {
    let body = ''
    request.on('data', data => {
      body += data
    })
    request.on('end', () => {
      receiver.attempts++
      const behaviour = behaviours.shift() ?? 200
      if (behaviour === 'slow') return
      if (behaviour === 'cut') return request.socket.destroy()
      if (behaviour < 300)
        receiver.received.push({ path: request.url!, headers: request.headers, body })
      const location = behaviour >= 300 && behaviour < 400 ? { location: '/elsewhere' } : {}
      response.writeHead(behaviour, location).end(`said ${request.url} ${'x'.repeat(300)}`)
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.after(async () => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const receiver = receiverOf<Received>(url, behaviours)
  return receiver
}

export interface Mail {
  readonly from: string
  readonly to: readonly string[]
  readonly user: string | undefined
  /** Its headers on one line each. */
  readonly data: string
}

/** Speaks enough of SMTP for one mail a connection; with a user, AUTH PLAIN is wanted. */
export async function smtpReceiver(
  t: Ending,
  login?: { user: string; password: string },
): Promise<Receiver<Mail>> {
  const behaviours: Behaviour[] = []
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    receiver.attempts++
    const behaviour = behaviours.shift() ?? 250
    if (behaviour === 'slow') return
    converse(socket, behaviour, login, mail => receiver.received.push(mail))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.after(async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const who = login === undefined ? '' : `${login.user}:${login.password}@`
  const receiver = receiverOf<Mail>(`smtp://${who}127.0.0.1:${port}`, behaviours)
  return receiver
}

function converse(
  socket: Socket,
  behaviour: Behaviour,
  login: { user: string; password: string } | undefined,
  onMail: (mail: Mail) => void,
): void {
  let from = ''
  let user: string | undefined
  const to: string[] = []
  let data: string | undefined
  let text = ''
  const say = (line: string) => socket.write(`${line}\r\n`)
  say('220 receiver ready')
  socket.on('data', bytes => {
    text += bytes
    for (let end = text.indexOf('\r\n'); end >= 0; end = text.indexOf('\r\n')) {
      const line = text.slice(0, end)
      text = text.slice(end + 2)
      if (data !== undefined && line !== '.') data += `${line}\n`
      else if (data !== undefined) {
        if (behaviour === 250) onMail({ from, to, user, data: data.replaceAll(/\n[ \t]+/g, ' ') })
        data = undefined
        say(behaviour === 250 ? '250 taken as 1234' : `${behaviour} not taken`)
      } else if (line.startsWith('EHLO')) {
        say('250-receiver')
        say(login === undefined ? '250 8BITMIME' : '250 AUTH PLAIN')
      } else if (line.startsWith('AUTH PLAIN ')) {
        const [, name, password] = Buffer.from(line.slice(11), 'base64').toString().split('\0')
        user = name
        const isRight = name === login?.user && password === login?.password
        say(isRight ? '235 in' : '535 wrong password')
      } else if (line === 'STARTTLS') say('502 there is no TLS here')
      else if (line.startsWith('MAIL FROM:')) {
        if (behaviour === 'cut') return socket.destroy()
        from = line.slice(10)
        say('250 ok')
      } else if (line.startsWith('RCPT TO:')) {
        to.push(line.slice(8))
        say('250 ok')
      } else if (line === 'DATA') {
        data = ''
        say('354 go on')
      } else if (line === 'QUIT') {
        say('221 bye')
        socket.end()
      } else say('250 ok')
    }
  })
}

function receiverOf<Item>(url: string, behaviours: Behaviour[]): Receiver<Item> {
  const received: Item[] = []
  return {
    url,
    received,
    attempts: 0,
    next: (...more) => void behaviours.push(...more),
    untilReceived: count => until(`${count} received`, () => received.length >= count, 10_000),
  }
}
