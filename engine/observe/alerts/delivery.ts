/** Delivery: messages on their way to channels, each by a child process that lives as long as one batch takes.
 *  Owns:   a queue for each channel, the child.   Not here: what a channel is sent (sender/), whether it is sent at all (alerts.ts).
 *  Thread: main.
 *  Holds:  (1) one child at a time; secrets go to its stdin, never into its arguments or environment.  (2) a channel gets its messages
 *          in order: one that fails is tried again after a pause, and those behind it wait.  (3) a message is given up after
 *          ATTEMPT_COUNT_MAX attempts or a refusal, with a line in the log; a queue has QUEUE_COUNT_MAX.
 *
 *  A child, because TLS costs a process 4 to 8 MB for good. */

import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { monotonicMs } from '../../clock.ts'
import { HearthError } from '../../errors.ts'
import type { ChannelAnswer } from '../../figures.ts'
import { log } from '../../log.ts'
import { PACKAGE_ROOT } from '../../paths.ts'
import {
  type AlertMessage,
  CHANNELS,
  type ChannelName,
  type ChannelOptions,
  type QueuedMessage,
  type SenderReport,
  type SenderTask,
  type SendResult,
} from './message.ts'

export interface DeliveryOptions {
  /** After each attempt that failed, in order; as many as there are retries. */
  readonly backoffMs: readonly number[]
  /** For one message. */
  readonly timeoutMs: number
}

const OPTIONS: DeliveryOptions = {
  backoffMs: [5_000, 30_000, 120_000, 600_000],
  timeoutMs: 10_000,
}
export const QUEUE_COUNT_MAX = 100
/** Of one channel in one child. */
const BATCH_COUNT_MAX = 10
/** Beyond what its messages may take: a child that takes longer is ended. */
const CHILD_MS = 5_000
/** At the engine's stop, for what is being sent. */
const CLOSE_MS = 1_000
const REPORT_BYTES_MAX = 256 * 1024
const SENDER = join(PACKAGE_ROOT, 'dist', 'alert_sender.cjs')
/** What of the environment the child has: nothing of Hearth's. */
const ENVIRONMENT =
  /^(PATH|HOME|LANG|TZ|SSL_CERT_(FILE|DIR)|NODE_EXTRA_CA_CERTS|NODE_USE_ENV_PROXY|NODE_USE_SYSTEM_CA|https?_proxy|no_proxy)$/i

interface Channel {
  readonly name: ChannelName
  readonly queue: AlertMessage[]
  /** Of the message at the head. */
  attempts: number
  dueMs: number
}

export class Delivery {
  private readonly options: ChannelOptions
  private readonly settings: DeliveryOptions
  private readonly byName = new Map<ChannelName, Channel>()
  private readonly children = new Set<ChildProcess>()
  private readonly onSettled: () => void
  private timer: NodeJS.Timeout | undefined
  private sending: Promise<void> | undefined
  private isTesting = false
  private isClosed = false

  /** `onSettled` is called when a queue has become shorter. */
  constructor(
    channels: ChannelOptions,
    settings: Partial<DeliveryOptions> = {},
    onSettled: () => void = () => undefined,
  ) {
    this.options = channels
    this.onSettled = onSettled
    this.settings = { ...OPTIONS, ...settings }
    for (const name of CHANNELS)
      if (channels[name] !== undefined)
        this.byName.set(name, { name, queue: [], attempts: 0, dueMs: 0 })
  }

  get channels(): Iterable<ChannelName> {
    return this.byName.keys()
  }

  /** Queues a message for every channel; false: there is none. */
  offer(message: AlertMessage): boolean {
    if (this.isClosed || this.byName.size === 0) return false
    for (const { name, queue, attempts } of this.byName.values()) {
      if (queue.length >= QUEUE_COUNT_MAX) {
        // Not one that is on its way.
        const at = this.sending === undefined ? Math.min(attempts, 1) : BATCH_COUNT_MAX
        const [dropped] = queue.splice(at, 1)
        log('error', 'an alert was dropped: its channel takes none', said(name, dropped!))
      }
      queue.push(message)
    }
    this.schedule(0)
    return true
  }

  /** What has not been sent yet, in order. */
  queued(): QueuedMessage[] {
    return [...this.byName.values()].flatMap(({ name, queue }) =>
      queue.map(message => ({ channel: name, message })),
    )
  }

  /** Takes up what an engine before this one had not sent. */
  restore(queued: readonly QueuedMessage[]): void {
    for (const { channel, message } of queued) this.byName.get(channel)?.queue.push(message)
    if (queued.length > 0) this.schedule(0)
  }

  /** Sends one message by itself and tells what each channel answered. Rejects with BUSY while another does. */
  async test(message: AlertMessage, only?: string): Promise<ChannelAnswer[]> {
    if (this.isTesting) throw new HearthError('BUSY', 'another test of the channels is on its way')
    this.isTesting = true
    try {
      return await this.runTest(message, only)
    } finally {
      this.isTesting = false
    }
  }

  /** Ends the child; what is still queued is for the next engine. */
  async close(): Promise<void> {
    this.isClosed = true
    clearTimeout(this.timer)
    // What has just been queued, as at a stop after a failure, gets one short chance.
    const late = setTimeout(() => this.endChildren(), CLOSE_MS)
    await this.sending
    clearTimeout(late)
    this.endChildren()
  }

  private endChildren(): void {
    for (const child of this.children) child.kill('SIGKILL')
  }

  private schedule(afterMs: number): void {
    if (this.isClosed || this.sending !== undefined) return
    clearTimeout(this.timer)
    this.timer = setTimeout(() => {
      this.sending = this.sendDue().finally(() => {
        this.sending = undefined
        const next = Math.min(...[...this.byName.values()].filter(hasMessages).map(dueMs))
        if (Number.isFinite(next)) this.schedule(Math.max(0, next - monotonicMs()))
      })
    }, afterMs).unref()
  }

  private async sendDue(): Promise<void> {
    const nowMs = monotonicMs()
    const due = [...this.byName.values()].filter(each => hasMessages(each) && each.dueMs <= nowMs)
    if (due.length === 0) return
    const jobs = due.map(({ name, queue }) => {
      return { channel: name, messages: queue.slice(0, BATCH_COUNT_MAX) }
    })
    const report = await this.run(jobs)
    for (const [i, channel] of due.entries()) this.settle(channel, report.jobs[i]?.results ?? [])
    this.onSettled()
  }

  /** Takes out what was sent; what failed waits, or is given up. */
  private settle(channel: Channel, results: readonly SendResult[]): void {
    for (const { isSent, isRetryable, answer } of results) {
      const message = channel.queue[0]
      if (message === undefined) return
      const pauseMs = this.settings.backoffMs[channel.attempts]
      if (!isSent && isRetryable && pauseMs !== undefined) {
        channel.attempts++
        channel.dueMs = monotonicMs() + pauseMs
        log('warn', 'an alert was not taken, and is tried again', {
          ...said(channel.name, message),
          answer,
          pauseMs,
        })
        return
      }
      if (!isSent)
        log('error', 'an alert could not be sent', { ...said(channel.name, message), answer })
      channel.queue.shift()
      channel.attempts = 0
      channel.dueMs = 0
    }
  }

  private async runTest(message: AlertMessage, only?: string): Promise<ChannelAnswer[]> {
    const names = [...this.byName.keys()].filter(name => only === undefined || name === only)
    if (names.length === 0) return []
    const report = await this.run(names.map(channel => ({ channel, messages: [message] })))
    return report.jobs.map(({ channel, results: [result] }) => {
      return { channel, isSent: result!.isSent, answer: result!.answer }
    })
  }

  /** One child for all jobs. Never rejects: a child that fails has failed each job. */
  private async run(jobs: SenderTask['jobs']): Promise<SenderReport> {
    const { timeoutMs } = this.settings
    const channels = Object.fromEntries(jobs.map(({ channel }) => [channel, this.options[channel]]))
    const longest = Math.max(...jobs.map(({ messages }) => messages.length))
    try {
      const text = await this.runChild(
        JSON.stringify({ channels, timeoutMs, jobs } satisfies SenderTask),
        longest * timeoutMs + CHILD_MS,
      )
      return JSON.parse(text) as SenderReport
    } catch (error) {
      const failed = {
        isSent: false,
        isRetryable: true,
        answer: `the sender: ${(error as Error).message}`,
      }
      return { jobs: jobs.map(({ channel }) => ({ channel, results: [failed] })) }
    }
  }

  private runChild(input: string, timeoutMs: number): Promise<string> {
    return new Promise((resolve, reject) => {
      const kept = Object.entries(process.env).filter(([name]) => ENVIRONMENT.test(name))
      const child = spawn(process.execPath, [SENDER], {
        env: Object.fromEntries(kept),
        stdio: ['pipe', 'pipe', 'ignore'],
      })
      this.children.add(child)
      const late = setTimeout(() => child.kill('SIGKILL'), timeoutMs).unref()
      let text = ''
      child.stdout.on('data', data => {
        if (text.length < REPORT_BYTES_MAX) text += data
      })
      child.stdin.on('error', () => undefined) // 'close' tells.
      child.on('error', reject)
      child.on('close', (code, signal) => {
        clearTimeout(late)
        this.children.delete(child)
        if (code === 0) resolve(text)
        else reject(new Error(signal === null ? `ended with ${code}` : 'did not end in time'))
      })
      child.stdin.end(input)
    })
  }
}

function hasMessages({ queue }: Channel): boolean {
  return queue.length > 0
}

function dueMs(channel: Channel): number {
  return channel.dueMs
}

function said(
  channel: ChannelName,
  { alert, subject, kind }: AlertMessage,
): Record<string, unknown> {
  return { channel, alert, subject, kind }
}
