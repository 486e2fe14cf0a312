/** Subscription: `db.listen(channel)`: a channel's notifications.
 *  Owns:   what LISTEN asks for.   Not here: the server's side (workers/postgres/listener.ts), loss and loops (feed.ts).
 *  Thread: the client's.
 *  Holds:  as feed.ts does; a loss of Postgres is told like one of the engine. */

import { correlationId } from '../correlation.ts'
import type { Connection } from './connection.ts'
import { Feed, type FeedEvents } from './feed.ts'
import type { Request } from './inflight.ts'
import { ListenRequest } from './sql_requests.ts'

export type OnNotification = (payload: string, channel: string) => void

/** A loop over it has the payloads. */
export class Subscription extends Feed<string> {
  readonly channel: string
  private readonly database: string

  constructor(
    connection: Connection,
    database: string,
    channel: string,
    onNotification: OnNotification | undefined,
  ) {
    super(connection, onNotification && (payload => onNotification(payload, channel)))
    this.database = database
    this.channel = channel
    this.ask()
  }

  protected request(events: FeedEvents): Request {
    return new ListenRequest(this.database, correlationId(), this.channel, {
      ...events,
      notified: payload => this.take(payload),
    })
  }
}
