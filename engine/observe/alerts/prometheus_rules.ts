/** prometheus_rules: the table of alerts as rules files for Prometheus, and as README's table.
 *  Owns:   nothing.   Not here: the table (alert_spec.ts), writing files (protocol/emit.ts).
 *  Thread: none; runs in `npm run emit` and in tests.
 *  Holds:  what is written is YAML whatever stands in a text: every text is a JSON string, which YAML reads as its own. */

import {
  ALERTS,
  type AlertGroup,
  type AlertSpec,
  type AlertUnit,
  FROM_OUTSIDE,
} from './alert_spec.ts'
import { shownValue } from './shown_value.ts'

const HUMANIZED: Record<AlertUnit, string> = {
  share: '{{ $value | humanizePercentage }}',
  seconds: '{{ $value | humanizeDuration }}',
  left: '{{ $value | humanizeDuration }}',
  bytes: '{{ $value | humanize1024 }}B',
  count: '{{ $value | humanize }}',
  'per second': '{{ $value | humanize }}',
}

/** By group: what engine/deploy/prometheus/hearth-<group>.rules.yml has. */
export function rulesYaml(group: AlertGroup): string {
  const rows = Object.entries<AlertSpec>({ ...ALERTS, ...FROM_OUTSIDE })
  const rules = rows
    .filter(([, spec]) => spec.group === group)
    .map(([name, spec]) => rule(name, spec))
  return `# Alert rules of Hearth: ${group}. Generated from engine/observe/alerts/alert_spec.ts: \`npm run emit\`.
# Thresholds are a beginning: copy the file and change them, or set the engine's own alerts (README, "Alerts").
groups:
  - name: hearth-${group}
    rules:
${rules.join('')}`
}

/** \`pool_waiting\` → \`HearthPoolWaiting\`. */
export function prometheusName(name: string): string {
  const words = name.split('_').map(word => `${word[0]!.toUpperCase()}${word.slice(1)}`)
  return `Hearth${words.join('')}`
}

/** Rows of README's table. */
export function alertRows(): string {
  const rows = Object.entries<AlertSpec>(ALERTS).map(
    ([name, { group, severity, when, threshold, forMs, unit, summary }]) => {
      const value = summary.replaceAll('{value}', '…').replaceAll('{subject}', '…')
      const rate = unit === 'per second' ? ' a second' : ''
      return `| \`${name}\` | ${group} | ${severity} | ${when} ${shownValue(threshold, unit)}${rate} | ${shownValue(forMs / 1e3, 'seconds')} | ${value} |`
    },
  )
  return `| alert | of | severity | fires | for | says |\n| --- | --- | --- | --- | --- | --- |\n${rows.join('\n')}`
}

function rule(name: string, spec: AlertSpec): string {
  const { expr, threshold, forMs, severity, unit, by, summary, advice } = spec
  const text = (words: string) =>
    JSON.stringify(
      words.replaceAll('{value}', HUMANIZED[unit]).replaceAll('{subject}', `{{ $labels.${by} }}`),
    )
  return `      - alert: ${prometheusName(name)}
        expr: ${JSON.stringify(expr.replaceAll('$t', String(threshold)))}
        for: ${forMs / 1e3}s
        labels:
          severity: ${severity}
        annotations:
          summary: ${text(summary)}
          description: ${text(advice)}
`
}
