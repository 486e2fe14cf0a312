/** WorkerPool: the engine's worker threads as long-running Piscina tasks, each replaced when it dies. Sole importer of piscina.
 *  Owns:   the threads and the lease on each.   Not here: what a request waits for (lease.ts), what workers do (workers/).
 *  Thread: main.
 *  Holds:  (1) each kind is hosted by exactly one worker.  (2) a dead worker's requests fail at once with UNAVAILABLE, and
 *          a new one with fresh rings is started within a second.  (3) a worker that stops answering pings is ended.
 *
 *      starting ──READY──▶ open ──dies──▶ restarting ──pause──▶ starting          any ──stop()──▶ closed */

import { Piscina } from 'piscina'
import { monotonicMs } from '../clock.ts'
import { HearthError, toHearthError } from '../errors.ts'
import {
  WORKER_PING_MS,
  WORKER_READY_MS_MAX,
  WORKER_RESTART_MS,
  WORKER_RESTART_MS_MAX,
  WORKER_SILENT_MS_MAX,
} from '../limits.ts'
import { log } from '../log.ts'
import { WORKER_ENTRY } from '../paths.ts'
import { textBytesMax, writeText } from '../protocol/body.ts'
import { decodeValue, encodeValue } from '../protocol/payload.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import { Lease, type Receiver } from './lease.ts'
import type { Kinds, WorkerKind, WorkerTask } from './worker_task.ts'

/** The long-lived slot of one worker: leases come and go in it. */
interface Seat {
  readonly name: string
  readonly kinds: Kinds
  state: 'starting' | 'open' | 'restarting' | 'closed'
  lease: Lease
  abort: AbortController
  restarts: number
  pauseMs: number
  lastAnswerMs: number
  report: unknown
}

export class WorkerPool {
  private readonly piscina: Piscina
  private readonly seats: Seat[]
  private readonly afterDrain: () => void
  private readonly pinger: NodeJS.Timeout
  private isClosed = false

  /** One worker for each row of `hosts`; `afterDrain` runs after each batch of replies. */
  constructor(hosts: readonly Kinds[], afterDrain: () => void) {
    this.afterDrain = afterDrain
    this.piscina = new Piscina({
      filename: WORKER_ENTRY,
      minThreads: hosts.length,
      maxThreads: hosts.length,
      idleTimeout: Infinity,
      // Piscina's default parks the thread in Atomics.wait between tasks; ours have one task for life and an event loop.
      atomics: 'disabled',
      recordTiming: false,
      env: {},
      resourceLimits: { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 64 },
    })
    this.seats = hosts.map(kinds => ({
      name: Object.keys(kinds).join('+'),
      kinds,
      state: 'starting',
      lease: new Lease(afterDrain, () => undefined),
      abort: new AbortController(),
      restarts: 0,
      pauseMs: WORKER_RESTART_MS,
      lastAnswerMs: monotonicMs(),
      report: undefined,
    }))
    this.pinger = setInterval(() => this.pingAll(), WORKER_PING_MS).unref()
  }

  /** Starts every worker; resolves with their reports, by kind, once all are ready. Rejects when one cannot start at all. */
  async start(): Promise<Record<string, unknown>> {
    await Promise.all(this.seats.map(seat => this.startSeat(seat)))
    return Object.assign({}, ...this.seats.map(seat => seat.report))
  }

  /** The lease of the worker that hosts a kind, open or not; undefined when no worker was configured for it. */
  leaseOf(kind: WorkerKind): Lease | undefined {
    return this.seats.find(seat => kind in seat.kinds)?.lease
  }

  /** Makes what was sent in this turn visible to the workers. */
  publish(): void {
    for (const seat of this.seats) seat.lease.publish()
  }

  /** Each worker's own figures, by kind; a worker that does not answer within a second is left out. */
  stats(): Promise<Record<string, Record<string, unknown>>> {
    return this.askAll(OPS.STATS.code)
  }

  /** The same, and what only metrics want: `servers` has ServerMetrics of each. */
  metrics(): Promise<Record<string, Record<string, unknown>>> {
    return this.askAll(OPS.METRICS.code)
  }

  /** What query insight answers to a question without options, such as `slow`; undefined: there is none. */
  async insight(question: string): Promise<unknown> {
    const lease = this.leaseOf('postgres')
    if (lease === undefined) return undefined
    const text = Buffer.alloc(textBytesMax(question))
    const body = Buffer.concat([text.subarray(0, writeText(text, 0, question)), encodeValue({})])
    return await ask(lease, OPS.INSIGHT.code, 1_000, readResult, body).catch(() => undefined)
  }

  private async askAll(op: number): Promise<Record<string, Record<string, unknown>>> {
    const figures = await Promise.all(
      this.seats.map(seat => askFigures(seat.lease, op).catch(() => ({}))),
    )
    return Object.assign({}, ...figures)
  }

  /** Whether every worker is open and answers a ping within the time. */
  async answers(timeoutMs: number): Promise<boolean> {
    const deadlineMs = monotonicMs() + timeoutMs
    const all = await Promise.all(this.seats.map(seat => isAnswering(seat, deadlineMs)))
    return all.every(Boolean)
  }

  state(): {
    name: string
    state: string
    restarts: number
    inflight: number
    depthBytes: number
    replyDepthBytes: number
  }[] {
    return this.seats.map(seat => ({
      name: seat.name,
      state: seat.state,
      restarts: seat.restarts,
      inflight: seat.lease.inflight,
      depthBytes: seat.lease.depthBytes(),
      replyDepthBytes: seat.lease.replyDepthBytes(),
    }))
  }

  /** Lets every worker finish and close its files, then ends the threads. */
  async stop(timeoutMs: number): Promise<void> {
    this.isClosed = true
    clearInterval(this.pinger)
    await Promise.race([
      Promise.all(this.seats.map(seat => askStop(seat.lease).catch(() => undefined))),
      new Promise(resolve => setTimeout(resolve, timeoutMs).unref()),
    ])
    for (const seat of this.seats) {
      seat.state = 'closed'
      seat.lease.end(new HearthError('CLOSED', 'the engine is shutting down'))
      seat.abort.abort()
    }
    await this.piscina.destroy()
  }

  private async startSeat(seat: Seat): Promise<void> {
    seat.state = 'starting'
    const abort = new AbortController()
    const lease = new Lease(this.afterDrain, error => {
      log('error', 'the ring of a worker is damaged: the worker is ended', {
        worker: seat.name,
        error: error.message,
      })
      abort.abort()
    })
    const ready = Promise.withResolvers<unknown>()
    // The worker's first frame answers ticket 0, which is taken here before anything else can be sent.
    lease.isOpen = true
    lease.send(OPS.PING.code, readyReceiver, ready, 0, 0, EMPTY, 0, 0)
    lease.isOpen = false
    seat.lease = lease
    seat.abort = abort
    const rings = { requests: lease.requests, replies: lease.replies }
    const task: WorkerTask = { kinds: seat.kinds, rings }
    const life = this.piscina.run(task, { signal: seat.abort.signal })
    life.then(
      () =>
        this.onEnd(seat, lease, new HearthError('UNAVAILABLE', `the ${seat.name} worker stopped`)),
      error => this.onEnd(seat, lease, toHearthError(error)),
    )
    life.catch(error => ready.reject(error))
    lease.listen()
    lease.publish()
    const timer = setTimeout(() => {
      abort.abort()
      ready.reject(
        new HearthError(
          'TIMEOUT',
          `the ${seat.name} worker was not ready within ${WORKER_READY_MS_MAX} ms`,
        ),
      )
    }, WORKER_READY_MS_MAX)
    try {
      seat.report = await ready.promise
    } finally {
      clearTimeout(timer)
    }
    lease.isOpen = true
    seat.state = 'open'
    seat.pauseMs = WORKER_RESTART_MS
    seat.lastAnswerMs = monotonicMs()
  }

  private onEnd(seat: Seat, lease: Lease, cause: HearthError): void {
    if (seat.lease !== lease) return
    lease.end(
      new HearthError(
        'UNAVAILABLE',
        `the ${seat.name} worker died while it held the request (${cause.message}); what changes something may have been carried out`,
      ),
    )
    if (this.isClosed) return
    seat.state = 'restarting'
    seat.restarts++
    log('error', 'worker died', {
      worker: seat.name,
      error: cause.message,
      restartMs: seat.pauseMs,
    })
    setTimeout(() => {
      if (this.isClosed) return
      this.startSeat(seat).then(
        () => log('info', 'worker is back', { worker: seat.name, restarts: seat.restarts }),
        () => undefined, // onEnd has run for it, and tries again.
      )
    }, seat.pauseMs)
    seat.pauseMs = Math.min(seat.pauseMs * 2, WORKER_RESTART_MS_MAX)
  }

  private pingAll(): void {
    const now = monotonicMs()
    for (const seat of this.seats) {
      if (seat.state !== 'open') continue
      if (now - seat.lastAnswerMs > WORKER_SILENT_MS_MAX) {
        log('error', 'worker does not answer and is ended', { worker: seat.name })
        seat.abort.abort()
      } else if (seat.lease.send(OPS.PING.code, pingReceiver, seat, 0, 0, EMPTY, 0, 0)) {
        seat.lease.publish()
      }
    }
  }
}

const EMPTY = Buffer.alloc(0)

const readyReceiver: Receiver<PromiseWithResolvers<unknown>> = {
  receive: (reply, ready) => ready.resolve(decodeValue(reply.bytes, reply.start, reply.end)),
  fail: (error, ready) => ready.reject(error),
}

const pingReceiver: Receiver<Seat> = {
  receive: (_reply, seat) => {
    seat.lastAnswerMs = monotonicMs()
  },
  fail: () => undefined,
}

/** A ring that is full for the moment is tried again: a worker with much to do is not one that hangs. */
async function isAnswering(seat: Seat, deadlineMs: number): Promise<boolean> {
  const { lease } = seat
  while (seat.state === 'open' && lease === seat.lease) {
    const leftMs = deadlineMs - monotonicMs()
    if (leftMs <= 0) return false
    const error = await ask(lease, OPS.PING.code, leftMs, () => undefined).catch(toHearthError)
    if (error === undefined) return true
    await new Promise(resolve => setTimeout(resolve, Math.min(FULL_RING_MS, leftMs)))
  }
  return false
}

const FULL_RING_MS = 20

async function askFigures(
  lease: Lease,
  op: number,
): Promise<Record<string, Record<string, unknown>>> {
  return ((await ask(lease, op, 1_000, readResult)) ?? {}) as never
}

/** Undefined: it was an error. */
function readResult({ op, bytes, start, end }: Answer): unknown {
  return op === REPLIES.RESULT.code ? decodeValue(bytes, start, end) : undefined
}

function askStop(lease: Lease): Promise<void> {
  return ask(lease, OPS.STOP.code, Infinity, () => undefined)
}

interface Answer {
  readonly op: number
  readonly bytes: Buffer
  readonly start: number
  readonly end: number
}

function ask<T>(
  lease: Lease,
  op: number,
  timeoutMs: number,
  read: (reply: Answer) => T,
  body: Buffer = EMPTY,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  const receiver: Receiver = { receive: reply => resolve(read(reply)), fail: reject }
  if (!lease.send(op, receiver, undefined, 0, 0, body, 0, body.length)) {
    reject(new HearthError('UNAVAILABLE', 'the worker takes no requests now'))
  }
  lease.publish()
  if (timeoutMs !== Infinity) {
    setTimeout(
      () => reject(new HearthError('TIMEOUT', 'the worker did not answer in time')),
      timeoutMs,
    ).unref()
  }
  return promise
}
