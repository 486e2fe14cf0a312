/** message: what is sent about an alert, to every channel alike, and the shapes that pass between the engine and its sender.
 *  Owns:   the types.   Not here: how a channel writes it (sender/).
 *  Thread: any; plain data.
 *  Holds:  AlertMessage is the body of the webhook, as README describes it: fields are added, never renamed. */

import type { AlertSeverity, AlertUnit } from './alert_spec.ts'

export interface AlertMessage {
  /** The same for all messages about one alert, by which PagerDuty knows it again. */
  readonly id: string
  readonly kind: 'firing' | 'still firing' | 'resolved' | 'test'
  readonly alert: string
  /** Which pool, breaker, replica …; '' for the engine. */
  readonly subject: string
  readonly severity: AlertSeverity
  readonly host: string
  /** In words, with the value. */
  readonly summary: string
  readonly advice: string
  readonly value: number | null
  readonly threshold: number | null
  readonly unit: AlertUnit | null
  /** When it began, and when this was written; since 1970. */
  readonly sinceMs: number
  readonly atMs: number
  /** What else is to be known, such as that the daily cap is reached. */
  readonly note: string | null
}

export const CHANNELS = ['email', 'slack', 'pagerduty', 'ntfy', 'webhook'] as const
export type ChannelName = (typeof CHANNELS)[number]

/** As configured; a channel that is not is left out. */
export interface ChannelOptions {
  readonly email?: {
    readonly server: string
    readonly from: string
    readonly to: readonly string[]
  }
  readonly slack?: { readonly url: string }
  readonly pagerduty?: { readonly key: string; readonly url: string }
  readonly ntfy?: { readonly url: string; readonly token?: string | undefined }
  readonly webhook?: { readonly url: string; readonly token?: string | undefined }
}

/** What the sender reads from stdin: JSON. */
export interface SenderTask {
  readonly channels: ChannelOptions
  readonly timeoutMs: number
  readonly jobs: readonly {
    readonly channel: ChannelName
    readonly messages: readonly AlertMessage[]
  }[]
}

/** A message that a channel has not been sent yet. */
export interface QueuedMessage {
  readonly channel: ChannelName
  readonly message: AlertMessage
}

/** What became of one message; the first that fails ends its job, so the order is kept. */
export interface SendResult {
  readonly isSent: boolean
  /** Trying again may help: the network, a busy or broken server, but no refusal. */
  readonly isRetryable: boolean
  /** In words, without secrets: the status, the error's code, what the server said. */
  readonly answer: string
}

/** What the sender writes to stdout: JSON. */
export interface SenderReport {
  readonly jobs: readonly {
    readonly channel: ChannelName
    readonly results: readonly SendResult[]
  }[]
}
