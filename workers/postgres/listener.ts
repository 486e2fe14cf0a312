/** Listener: all LISTENs of one database, on one connection of their own beside the pool's.
 *  Owns:   the connection, the channels and who listens to each.   Not here: frames (session_ops.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) a subscriber is told LISTENING only when the server has confirmed it, and every notification from then on, or of
 *          a gap.  (2) the connection is there while anybody listens, and comes back by itself: channels are listened to anew, then
 *          every subscriber is told of the gap.  (3) one that is silent but dead is found out: every PROBE_MS the listener notifies
 *          itself, end to end.
 *
 *      none ──first subscriber──▶ connecting ──▶ listening ──lost──▶ waiting ──backoff──▶ connecting
 *                                                   └──last subscriber goes──▶ none */

import { HearthError } from '../../engine/errors.ts'
import type { Connection, Outcome } from './connection.ts'
import { openConnection } from './connection_dial.ts'
import type { Cancelable, PoolOptions } from './database.ts'
import { isLoginFailure, oneLine } from './errors.ts'
import { plain } from './session.ts'

const BACKOFF_MS = 20
const BACKOFF_MS_MAX = 2_000
const COMMAND_MS_MAX = 5_000
const PROBE_MS = 30_000
/** Names are cut off by the server beyond that, and the notification then has another name. */
const CHANNEL_BYTES_MAX = 63
const PROBE_CHANNEL = `hearth_probe_${Math.random().toString(36).slice(2)}`

export interface Subscriber {
  listening(): void
  notified(payload: string): void
  /** The connection is gone, and will be made anew: told at once, to whoever was told LISTENING; `gap` follows. */
  lost?(why: string): void
  /** What was notified while the connection was away is lost. */
  gap(why: string): void
  failed(error: HearthError): void
}

export interface ListenerSpec extends PoolOptions {
  readonly name: string
  readonly url: string
}

interface Channel {
  readonly name: string
  /** Each with whether it was told LISTENING. */
  readonly subscribers: Map<Subscriber, boolean>
  /** Confirmed by the server, on the present connection. */
  isConfirmed: boolean
}

export class Listener {
  private readonly spec: ListenerSpec
  private readonly channels = new Map<string, Channel>()
  private connection: Connection | undefined
  private isConnecting = false
  /** Commands for the server, in order; each is due once the one before is answered. */
  private readonly commands: { sql: string; done(): void }[] = []
  private isBusy = false
  private failuresInRow = 0
  private retry: NodeJS.Timeout | undefined
  private probing: NodeJS.Timeout | undefined
  private patience: NodeJS.Timeout | undefined
  private isClosed = false
  private gaps = 0
  private wasLost: string | undefined
  private readonly missed = new Set<Subscriber>()

  constructor(spec: ListenerSpec) {
    this.spec = spec
  }

  /** Throws BAD_REQUEST for a name that no channel can have. */
  subscribe(name: string, subscriber: Subscriber): Cancelable {
    checkName(name)
    if (this.isClosed) throw new HearthError('CLOSED', 'the engine is shutting down')
    let channel = this.channels.get(name)
    if (channel === undefined) {
      channel = { name, subscribers: new Map(), isConfirmed: false }
      this.channels.set(name, channel)
      if (this.connection !== undefined) this.listen(channel)
      else this.connect()
    }
    channel.subscribers.set(subscriber, channel.isConfirmed)
    if (channel.isConfirmed) subscriber.listening()
    return { cancel: () => this.unsubscribe(channel, subscriber) }
  }

  stats(): { channels: number; subscribers: number; gaps: number } {
    let subscribers = 0
    for (const channel of this.channels.values()) subscribers += channel.subscribers.size
    return { channels: this.channels.size, subscribers, gaps: this.gaps }
  }

  /** The url of its database has changed: the present connection gives way to one that leads there, with a gap between. */
  move(): void {
    this.connection?.close('another server is the primary now')
  }

  /** Notifies itself: a connection on which that is not back in time is given up as lost. Nothing happens while there is none. */
  probe(withinMs = COMMAND_MS_MAX): void {
    if (this.connection === undefined || this.patience !== undefined) return
    this.patience = setTimeout(
      () => this.connection?.close('its own notification did not come back'),
      withinMs,
    )
    this.command(`notify ${quoted(PROBE_CHANNEL)}`)
  }

  close(): void {
    this.isClosed = true
    this.failAll(new HearthError('CLOSED', 'the engine is shutting down'))
    this.drop('no longer needed')
  }

  private unsubscribe(channel: Channel, subscriber: Subscriber): void {
    channel.subscribers.delete(subscriber)
    if (channel.subscribers.size > 0 || this.channels.get(channel.name) !== channel) return
    this.channels.delete(channel.name)
    if (this.channels.size === 0) this.drop('no longer needed')
    else if (this.connection !== undefined) this.command(`unlisten ${quoted(channel.name)}`)
  }

  private connect(): void {
    if (this.isConnecting || this.retry !== undefined) return
    this.isConnecting = true
    const { name, url } = this.spec
    const counts = { hits: 0, misses: 0, evictions: 0, mended: 0 }
    openConnection(this.spec, counts).then(
      connection => {
        // Its database moved meanwhile.
        if (this.spec.url !== url) {
          connection.close('another server is the primary now')
          this.isConnecting = false
          return this.retryLater()
        }
        this.connected(connection)
      },
      (error: Error) => {
        this.isConnecting = false
        if (this.channels.size === 0) return
        // A refused login and a missing libpq last; whoever waits for the first LISTEN is told, and may try again.
        if (error instanceof HearthError) return this.failAll(error)
        if (isLoginFailure(error.message)) {
          const text = `Postgres refused the connection (${oneLine(error.message)}); check the url of database "${name}"`
          return this.failAll(new HearthError('UNAVAILABLE', text))
        }
        this.retryLater()
      },
    )
  }

  private connected(connection: Connection): void {
    this.isConnecting = false
    if (this.channels.size === 0 || this.isClosed) return connection.close('no longer needed')
    this.connection = connection
    connection.onLost = why => this.lost(why)
    connection.receiveNotifications((channel, payload) => this.notified(channel, payload))
    this.command(`listen ${quoted(PROBE_CHANNEL)}`)
    for (const channel of this.channels.values()) this.listen(channel)
    this.command('', () => this.caughtUp())
    this.probing = setInterval(() => this.probe(), PROBE_MS)
    this.probing.unref()
  }

  /** Every channel is listened to again: whoever did so before is told that the time between is missing. */
  private caughtUp(): void {
    this.failuresInRow = 0
    const why = this.wasLost
    this.wasLost = undefined
    if (why === undefined) return
    this.gaps++
    for (const { subscribers } of this.channels.values())
      for (const subscriber of subscribers.keys())
        if (this.missed.has(subscriber)) subscriber.gap(why)
    this.missed.clear()
  }

  private listen(channel: Channel): void {
    this.command(`listen ${quoted(channel.name)}`, () => {
      channel.isConfirmed = true
      for (const [subscriber, isTold] of channel.subscribers) {
        channel.subscribers.set(subscriber, true)
        if (!isTold) subscriber.listening()
      }
    })
  }

  private notified(name: string, payload: string): void {
    if (name === PROBE_CHANNEL) {
      clearTimeout(this.patience)
      this.patience = undefined
      return
    }
    const channel = this.channels.get(name)
    if (channel !== undefined)
      for (const subscriber of channel.subscribers.keys()) subscriber.notified(payload)
  }

  private command(sql: string, done: () => void = () => {}): void {
    this.commands.push({ sql, done })
    if (!this.isBusy) this.nextCommand()
  }

  private nextCommand(): void {
    const { connection } = this
    const command = this.commands.shift()
    if (command === undefined || connection === undefined) return
    if (command.sql === '') {
      command.done()
      return this.nextCommand()
    }
    this.isBusy = true
    const timer = setTimeout(() => connection.close('no answer to LISTEN'), COMMAND_MS_MAX)
    connection.run(plain(command.sql), [], (outcome: Outcome) => {
      clearTimeout(timer)
      this.isBusy = false
      if (outcome.kind === 'lost') return this.lost(outcome.why)
      // It is refused by a server in recovery, which cannot listen at all.
      if (outcome.kind === 'refused') {
        const details = { sqlState: outcome.fields['sqlState'] }
        this.failAll(new HearthError('DATABASE', oneLine(outcome.text), details))
        return this.drop(outcome.text)
      }
      command.done()
      this.nextCommand()
    })
  }

  private lost(why: string): void {
    this.forget()
    if (this.channels.size === 0 || this.isClosed) return
    for (const channel of this.channels.values()) {
      channel.isConfirmed = false
      for (const [subscriber, isTold] of channel.subscribers)
        if (isTold) this.missed.add(subscriber)
    }
    this.wasLost = `the connection to Postgres was lost (${oneLine(why)})`
    this.retryLater()
    for (const subscriber of [...this.missed]) subscriber.lost?.(this.wasLost)
  }

  private retryLater(): void {
    const mostMs = Math.min(BACKOFF_MS * 2 ** this.failuresInRow++, BACKOFF_MS_MAX)
    this.retry = setTimeout(
      () => {
        this.retry = undefined
        if (this.channels.size > 0) this.connect()
      },
      mostMs * (0.5 + Math.random() / 2),
    )
    this.retry.unref()
  }

  private drop(why: string): void {
    const { connection } = this
    this.forget()
    clearTimeout(this.retry)
    this.retry = undefined
    this.wasLost = undefined
    if (connection === undefined) return
    connection.onLost = () => {}
    connection.close(why)
  }

  private forget(): void {
    this.connection = undefined
    this.isBusy = false
    this.commands.length = 0
    clearInterval(this.probing)
    clearTimeout(this.patience)
    this.patience = undefined
  }

  private failAll(error: HearthError): void {
    const channels = [...this.channels.values()]
    this.channels.clear()
    this.missed.clear()
    for (const { subscribers } of channels)
      for (const subscriber of subscribers.keys()) subscriber.failed(error)
  }
}

function checkName(name: string): void {
  const bytes = Buffer.byteLength(name)
  if (bytes > 0 && bytes <= CHANNEL_BYTES_MAX && !name.includes('\0')) return
  throw new HearthError(
    'BAD_REQUEST',
    `the name of a channel has 1 to ${CHANNEL_BYTES_MAX} bytes and no zero character`,
  )
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
