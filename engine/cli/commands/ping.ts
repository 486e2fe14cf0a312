/** ping: one round trip; with --wait, until the engine answers.
 *  Owns:   how often it tries.   Thread: main.
 *  Holds:  it waits only for an engine that is not there yet; one that refuses is reported at once. */

import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../../clock.ts'
import { isHearthError } from '../../errors.ts'
import { openEngine } from '../client.ts'
import { durationOption, type Input } from '../input.ts'
import { print, printJson } from '../output.ts'
import { duration } from '../table.ts'

const PAUSE_MS = 25
const TRY_MS_MAX = 5_000

export async function run(input: Input): Promise<number> {
  const waitMs = durationOption(input, 'wait', 1) ?? 0
  const untilMs = monotonicMs() + waitMs
  for (;;) {
    const leftMs = untilMs - monotonicMs()
    try {
      const tryMs = waitMs === 0 ? TRY_MS_MAX : Math.min(TRY_MS_MAX, Math.max(leftMs, PAUSE_MS))
      show(await roundTrip(input, tryMs), input)
      return 0
    } catch (error) {
      if (!isNotThereYet(error) || leftMs <= 0) throw error
      await sleep(Math.min(PAUSE_MS, leftMs))
    }
  }
}

interface Answer {
  readonly roundTripMs: number
  /** What the engine takes the caller for. */
  readonly role: string | undefined
}

async function roundTrip(input: Input, timeoutMs: number): Promise<Answer> {
  const hearth = await openEngine(input, timeoutMs)
  try {
    await hearth.ping() // the first one pays for compiling the code it runs through
    return { roundTripMs: await hearth.ping(), role: hearth.role }
  } finally {
    await hearth.close()
  }
}

function isNotThereYet(error: unknown): boolean {
  return isHearthError(error) && (error.code === 'UNAVAILABLE' || error.code === 'TIMEOUT')
}

function show({ roundTripMs, role }: Answer, input: Input): void {
  if (input.isJson) printJson({ roundTripMs: Number(roundTripMs.toFixed(3)), role })
  else print(`pong in ${duration(roundTripMs)}`)
}
