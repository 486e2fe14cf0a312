/** open: the engine's own alerts, from its configuration.
 *  Owns:   nothing.   Not here: the alerts (alerts.ts).   Thread: main.
 *  Holds:  a channel is there if what it cannot do without is set; the configuration's relations see to the rest. */

import { hostname } from 'node:os'
import type { Observer } from '../observer.ts'
import { Alerts, type RuleOptions } from './alerts.ts'
import type { ChannelOptions } from './message.ts'

/** As in config/schema.ts. */
export interface AlertsConfig {
  readonly host?: string | undefined
  readonly dailyCap: number
  readonly repeatMs: number
  readonly rules: Readonly<Record<string, RuleOptions>>
  readonly email: {
    readonly server: string
    readonly from?: string | undefined
    readonly to?: readonly string[] | undefined
  }
  readonly slack: { readonly url?: string | undefined }
  readonly pagerduty: { readonly key?: string | undefined; readonly url: string }
  readonly ntfy: { readonly url?: string | undefined; readonly token?: string | undefined }
  readonly webhook: { readonly url?: string | undefined; readonly token?: string | undefined }
}

export function openAlerts(config: AlertsConfig, stateDir: string, observer: Observer): Alerts {
  const { host, dailyCap, repeatMs, rules } = config
  const channels = channelsOf(config)
  return new Alerts({ host, dailyCap, repeatMs, rules, channels, stateDir }, observer)
}

function channelsOf({ email, slack, pagerduty, ntfy, webhook }: AlertsConfig): ChannelOptions {
  const { server, from, to } = email
  return {
    ...(to === undefined ? {} : { email: { server, from: from ?? `hearth@${hostname()}`, to } }),
    ...(slack.url === undefined ? {} : { slack: { url: slack.url } }),
    ...(pagerduty.key === undefined
      ? {}
      : { pagerduty: { key: pagerduty.key, url: pagerduty.url } }),
    ...(ntfy.url === undefined ? {} : { ntfy: { url: ntfy.url, token: ntfy.token } }),
    ...(webhook.url === undefined ? {} : { webhook: { url: webhook.url, token: webhook.token } }),
  }
}
