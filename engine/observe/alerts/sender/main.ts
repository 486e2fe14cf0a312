/** main: the program that sends a batch of alerts and ends: task on stdin, report on stdout, both JSON.
 *  Owns:   nothing.   Not here: what each channel is sent (http_channels.ts, email.ts), queues and retries (../delivery.ts).
 *  Thread: main of a process of its own.
 *  Holds:  (1) it ends by itself; every message has a result, or stands behind one that failed.  (2) no answer has a secret in it.
 *          (3) channels at the same time, the messages of one in order. */

import type { ChannelName, SenderReport, SenderTask, SendResult } from '../message.ts'
import { openEmail } from './email.ts'
import { HTTP_CHANNELS } from './http_channels.ts'
import { failed, withoutSecrets } from './results.ts'
import type { Send } from './send.ts'

async function main(): Promise<void> {
  let text = ''
  for await (const chunk of process.stdin.setEncoding('utf8')) text += chunk
  const task = JSON.parse(text) as SenderTask
  const jobs = await Promise.all(
    task.jobs.map(async ({ channel, messages }) => {
      const results: SendResult[] = []
      for (const message of messages) {
        const result = await attempt(channel, task, send => send(message))
        results.push({ ...result, answer: withoutSecrets(result.answer, task.channels[channel]) })
        if (!result.isSent && result.isRetryable) break
      }
      return { channel, results }
    }),
  )
  process.stdout.write(JSON.stringify({ jobs } satisfies SenderReport), () => process.exit(0))
}

/** Never rejects, and takes at most the task's time. */
async function attempt(
  channel: ChannelName,
  task: SenderTask,
  use: (send: Send) => Promise<SendResult>,
): Promise<SendResult> {
  const { timeoutMs } = task
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<SendResult>(resolve => {
    const answer = `no answer within ${timeoutMs} ms`
    timer = setTimeout(() => resolve({ isSent: false, isRetryable: true, answer }), timeoutMs)
  })
  try {
    return await Promise.race([use(senderOf(channel, task)), late])
  } catch (error) {
    return failed(error)
  } finally {
    clearTimeout(timer)
  }
}

function senderOf(channel: ChannelName, { channels, timeoutMs }: SenderTask): Send {
  if (channel === 'email') return openEmail(channels.email!, timeoutMs)
  return HTTP_CHANNELS[channel](channels, timeoutMs)
}

void main()
