/** alert: the engine's own alerts as a table, and a test of the channels they go to.
 *  Owns:   nothing.   Thread: main.
 *  Holds:  exit code 0 means that nothing fires, or that every channel took the test. */

import type { AlertFigures } from '../../figures.ts'
import { withEngine } from '../client.ts'
import type { Input } from '../input.ts'
import { print, printJson, styled } from '../output.ts'
import { tableLines } from '../table.ts'
import { UsageError } from '../usage_error.ts'

export async function run(input: Input): Promise<number> {
  const [what] = input.operands
  if (what === 'list') return list(input)
  if (what === 'test') return test(input)
  throw new UsageError(`alert knows list and test, not ${JSON.stringify(what)}`, 'alert')
}

async function list(input: Input): Promise<number> {
  const alerts = await withEngine(input, hearth => hearth.alerts())
  const { isOn, active, recent, channels, sentToday, dailyCap } = alerts
  if (input.isJson) printJson(alerts)
  else if (!isOn)
    print('alerts are off: alerts.enabled, or a channel such as alerts.slack.url, turns them on')
  else {
    const names = channels.length === 0 ? 'to nobody' : `to ${channels.join(', ')}`
    print(`alerts are sent ${names}; ${sentToday} of ${dailyCap} within 24 hours\n`)
    print(active.length === 0 ? 'nothing fires' : table(active))
    if (recent.length > 0) print(`\nover:\n${table(recent)}`)
  }
  return active.length === 0 ? 0 : 1
}

async function test(input: Input): Promise<number> {
  const channel = input.options['channel']
  const answers = await withEngine(input, hearth => hearth.testAlerts(channel))
  if (input.isJson) printJson(answers)
  else {
    const columns = [{ title: 'channel' }, { title: '' }, { title: 'answer' }]
    const rows = answers.map(({ channel, isSent, answer }) => {
      return [channel, isSent ? styled('green', 'sent') : styled('red', 'not sent'), answer]
    })
    print(tableLines(columns, rows).join('\n'))
  }
  return answers.every(({ isSent }) => isSent) ? 0 : 1
}

function table(alerts: readonly AlertFigures[]): string {
  const columns = [{ title: 'alert' }, { title: 'severity' }, { title: 'since' }, { title: 'says' }]
  const rows = alerts.map(({ alert, severity, sinceMs, untilMs, summary }) => {
    const since = new Date(sinceMs).toISOString().slice(0, 19)
    const until = untilMs === null ? '' : ` to ${new Date(untilMs).toISOString().slice(11, 19)}`
    return [
      alert,
      styled(severity === 'critical' ? 'red' : 'yellow', severity),
      since + until,
      summary,
    ]
  })
  return tableLines(columns, rows).join('\n')
}
