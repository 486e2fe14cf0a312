/** dev: everything embedded, with sample data and a pretend service at work; what `npm start` runs.
 *  Owns:   the order of things, and how they end.   Not here: the parts (engine/dev/), the table (dev_screen.ts).
 *  Thread: main.
 *  Holds:  (1) SIGINT, SIGTERM, SIGHUP and a reader that leaves stop everything in order and exit with 0.
 *          (2) a second signal, a moment later, or our death, leaves the rest to the watchdogs: nothing outlives us for long. */

import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../../clock.ts'
import { type DevEngine, startDevEngine } from '../../dev/dev_engine.ts'
import { REPLICA_COUNT_MAX } from '../../dev/dev_servers.ts'
import { PretendService } from '../../dev/pretend_service.ts'
import { HearthError } from '../../errors.ts'
import { createScreen, type Screen } from '../dev_screen.ts'
import { durationOption, type Input } from '../input.ts'
import { whenReaderLeaves } from '../output.ts'
import { UsageError } from '../usage_error.ts'

const PARENT_POLL_MS = 500
/** A Ctrl-C reaches us from the terminal and, within this, again from npm or the launcher. */
const ECHO_MS = 1_000

export async function run(input: Input): Promise<number> {
  const forMs = durationOption(input, 'seconds', 1_000)
  const replicaCount = replicasOption(input)
  const end = new AbortController()
  stopOnSignals(end)
  const screen = createScreen(input.isJson)
  try {
    await serve(forMs, replicaCount, end, screen)
  } catch (error) {
    screen.close()
    // Whatever breaks because we are being stopped is no failure.
    if (!end.signal.aborted || end.signal.reason instanceof HearthError) throw error
  }
  return 0
}

function replicasOption(input: Input): number {
  const text = input.options['replicas'] ?? '0'
  if (/^\d$/.test(text) && Number(text) <= REPLICA_COUNT_MAX) return Number(text)
  throw new UsageError(
    `--replicas: found ${JSON.stringify(text)}, expected a number from 0 to ${REPLICA_COUNT_MAX}`,
    'dev',
  )
}

async function serve(
  forMs: number | undefined,
  replicaCount: number,
  end: AbortController,
  screen: Screen,
): Promise<void> {
  const engine = await startDevEngine({
    folder: process.cwd(),
    replicaCount,
    signal: end.signal,
    onStep: sentence => screen.step(sentence),
    onRows: (loaded, total) => screen.rows(loaded, total),
    onCare: event => screen.care(event),
  })
  let service: PretendService | undefined
  try {
    engine.ended.then(words => {
      if (words === undefined) return
      end.abort(new HearthError('UNAVAILABLE', `the engine ended:\n${words}`))
      void service?.close() // else its questions would wait for an engine that does not come back
    })
    service = await PretendService.start(engine.socket)
    screen.ready(engine, service.answerCount)
    if (forMs !== undefined) setTimeout(() => end.abort(), forMs).unref()
    await Promise.all([service.serve(end.signal), show(service, screen, end.signal)])
    if (end.signal.reason instanceof HearthError) throw end.signal.reason
  } finally {
    await stop(engine, service, screen)
  }
}

/** Draws at the screen's own pace, and once more at the end. */
async function show(service: PretendService, screen: Screen, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sleep(screen.paceMs, undefined, { signal }).catch(() => undefined)
    const stats = await service.stats().catch(() => undefined)
    screen.figures(service, stats)
  }
}

async function stop(
  engine: DevEngine,
  service: PretendService | undefined,
  screen: Screen,
): Promise<void> {
  screen.stopping()
  await service?.close()
  await engine.stop()
  screen.stopped()
}

function stopOnSignals(end: AbortController): void {
  let firstMs = 0
  const stop = () => {
    if (firstMs === 0) firstMs = monotonicMs()
    else if (monotonicMs() - firstMs > ECHO_MS) process.exit(1)
    end.abort()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop)
  whenReaderLeaves(() => end.abort())
  // npm runs scripts in a shell that hands no signals on, and an old Node waits for us in the launcher: with them we go.
  const { npm_lifecycle_event, HEARTH_DEV_PARENT } = process.env
  if (npm_lifecycle_event === undefined && HEARTH_DEV_PARENT === undefined) return
  const parent = process.ppid
  setInterval(() => {
    if (process.ppid !== parent) end.abort()
  }, PARENT_POLL_MS).unref()
}
