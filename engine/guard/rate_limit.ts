/** RateLimits: what clients may ask within a window: the limits of the configuration, and `limits.check` of named subjects.
 *  Owns:   the logs, and what is counted of refusals.   Not here: which operation counts as what (router/limit_gate.ts), the
 *          file that outlives a restart (limit_file.ts).
 *  Thread: main.
 *  Holds:  (1) a request that is refused counts for nothing.  (2) one that must meet two limits counts for both or for neither.
 *          (3) a client is a uid, as the kernel says: neither more connections nor another name is another client.
 *
 *  A uid and not a name with it: a client says its own name, and would evade its limit by another. Services that are to have a limit
 *  each run as a user each. The engine's own user is admin, and has none. */

import { bootMs } from '../clock.ts'
import { HearthError } from '../errors.ts'
import type { LimitFigures } from '../figures.ts'
import { LimitTable } from './limit_table.ts'
import { RUNS_OF_ONE_MAX, type SlidingLog } from './sliding_log.ts'

/** So many within so long; `text` is as configured. */
export interface Rate {
  readonly max: number
  readonly windowMs: number
  readonly text: string
}

/** Undefined: unlimited. */
export interface RateSettings {
  readonly perClient: Rate | undefined
  readonly global: Rate | undefined
  readonly cachePerClient: Rate | undefined
  /** Named subjects that have a log of their own. */
  readonly maxSubjects: number
}

/** What a request counts as. */
export const LIMITED = { none: 0, sql: 1, cache: 2 } as const

/** The answer to `limits.check`. */
export interface LimitVerdict {
  isAllowed: boolean
  /** How many more may come now. */
  remaining: number
  /** How long until one may come; 0 when this one might. */
  retryAfterMs: number
}

export const SUBJECT_BYTES_MAX = 256
export const LIMIT_MAX = 1_000_000_000
export const WINDOW_MS_MAX = 24 * 24 * 3_600_000
const UNLIMITED: RateSettings = {
  perClient: undefined,
  global: undefined,
  cachePerClient: undefined,
  maxSubjects: 4_096,
}
const CLIENT_COUNT_MAX = 1_024
/** Runs of all clients' logs: 1 MiB, when it is used. */
const CLIENT_RUNS_MAX = 4 * RUNS_OF_ONE_MAX
/** Runs for each named subject beyond its first, on the average. */
const RUNS_A_SUBJECT = 12
/** What is said when not even a shared log can be had. */
const FULL_WAIT_MS = 1_000

export class RateLimits {
  /** Something is limited by the configuration: else no request is looked at. */
  isOn = false
  /** Something was counted since the last save. */
  isChanged = false
  readonly clients = new LimitTable(CLIENT_COUNT_MAX, CLIENT_RUNS_MAX)
  readonly cacheClients = new LimitTable(CLIENT_COUNT_MAX, CLIENT_RUNS_MAX)
  readonly subjects: LimitTable
  /** One log of each window that `limits.global` has had. */
  readonly global = new LimitTable(1, RUNS_OF_ONE_MAX)
  private settings: RateSettings
  private readonly limited = { client: 0, global: 0, cache: 0, subject: 0 }
  private checks = 0
  private readonly verdict: LimitVerdict = { isAllowed: true, remaining: 0, retryAfterMs: 0 }
  /** What the last admit() counted in. */
  private lastOfClient: SlidingLog | undefined
  private lastOfAll: SlidingLog | undefined

  constructor(settings: RateSettings = UNLIMITED) {
    this.settings = settings
    this.subjects = new LimitTable(settings.maxSubjects, settings.maxSubjects * RUNS_A_SUBJECT)
    this.configure(settings)
  }

  /** Takes new limits over at once: what was counted under the old ones counts under the new, where their windows are the same. */
  configure(settings: RateSettings): void {
    this.settings = settings
    this.isOn = (settings.perClient ?? settings.global ?? settings.cachePerClient) !== undefined
    this.subjects.subjectCountMax = settings.maxSubjects
    this.subjects.runCountMax = settings.maxSubjects * RUNS_A_SUBJECT
  }

  /** Counts a request of a client; `isForced`: it is counted, and not refused. Throws RATE_LIMITED. False: nothing limits it. */
  admit(uid: number, kind: number, isForced = false): boolean {
    const { perClient, global, cachePerClient } = this.settings
    const nowMs = bootMs()
    this.lastOfClient = undefined
    this.lastOfAll = undefined
    if (kind === LIMITED.cache) {
      if (cachePerClient === undefined) return false
      const log = this.cacheClients.logOf(String(uid), cachePerClient.windowMs, nowMs)
      this.pass(log, cachePerClient, nowMs, 'cache', uid)
      this.lastOfClient = log
      log!.add(nowMs, cachePerClient.max, this.cacheClients.grow)
    } else {
      if (perClient === undefined && global === undefined) return false
      const own = perClient && this.clients.logOf(String(uid), perClient.windowMs, nowMs)
      const all = global && this.global.logOf('', global.windowMs, nowMs)
      if (perClient !== undefined && !isForced) this.pass(own, perClient, nowMs, 'client', uid)
      if (global !== undefined && !isForced) this.pass(all, global, nowMs, 'global', uid)
      own?.add(nowMs, perClient!.max, this.clients.grow)
      all?.add(nowMs, global!.max, this.global.grow)
      this.lastOfClient = own
      this.lastOfAll = all
    }
    this.isChanged = true
    return true
  }

  /** The request that admit() has just counted was not taken: it comes again, and counts then. */
  takeBack(): void {
    this.lastOfClient?.takeBack()
    this.lastOfAll?.takeBack()
  }

  /** Counts one event of a named subject, unless its limit is used up. The object is used again. Throws BAD_REQUEST. */
  check(subject: string, max: number, windowMs: number, nowMs = bootMs()): LimitVerdict {
    checkArguments(subject, max, windowMs)
    const { verdict, subjects } = this
    this.checks++
    const log = subjects.logOf(subject, windowMs, nowMs)
    verdict.retryAfterMs = log === undefined ? FULL_WAIT_MS : log.waitMs(nowMs, max)
    verdict.isAllowed = verdict.retryAfterMs === 0
    if (verdict.isAllowed) {
      log!.add(nowMs, max, subjects.grow)
      this.isChanged = true
    } else this.limited.subject++
    verdict.remaining = verdict.isAllowed ? max - log!.used : 0
    return verdict
  }

  /** Forgets what is over. */
  sweep(nowMs = bootMs()): void {
    for (const table of [this.clients, this.cacheClients, this.subjects, this.global])
      table.sweep(nowMs)
  }

  /** What was refused, by limit, for the metrics. */
  report(tell: (name: 'hearth_rate_limited_total', labels: string[], value: number) => void): void {
    for (const [scope, count] of Object.entries(this.limited))
      tell('hearth_rate_limited_total', [scope], count)
  }

  figures(): LimitFigures {
    const { perClient, global, cachePerClient, maxSubjects } = this.settings
    const { clients, subjects, limited, checks } = this
    return {
      perClient: perClient?.text ?? 'unlimited',
      global: global?.text ?? 'unlimited',
      cachePerClient: cachePerClient?.text ?? 'unlimited',
      limited: { ...limited },
      clients: clients.subjectCount,
      checks,
      subjects: subjects.subjectCount,
      maxSubjects,
      sharedChecks: subjects.sharedChecks,
    }
  }

  private pass(
    log: SlidingLog | undefined,
    { max, text }: Rate,
    nowMs: number,
    scope: keyof typeof WORDS,
    uid: number,
  ): void {
    const retryAfterMs = log === undefined ? FULL_WAIT_MS : log.waitMs(nowMs, max)
    if (retryAfterMs === 0) return
    this.limited[scope]++
    const { key, who } = WORDS[scope]
    const message = `${key} = "${text}" is used up by ${who(uid)}; nothing was done, try again in ${retryAfterMs} ms`
    throw new HearthError('RATE_LIMITED', message, { retryAfterMs, detail: key })
  }
}

const WORDS = {
  client: { key: 'limits.per_client', who: (uid: number) => `the user with uid ${uid}` },
  global: { key: 'limits.global', who: () => 'all clients together' },
  cache: { key: 'limits.cache_per_client', who: (uid: number) => `the user with uid ${uid}` },
} as const

function checkArguments(subject: string, max: number, windowMs: number): void {
  // A character has a byte at least, and three at most.
  const isLong =
    subject.length > SUBJECT_BYTES_MAX ||
    (subject.length * 3 > SUBJECT_BYTES_MAX && Buffer.byteLength(subject) > SUBJECT_BYTES_MAX)
  if (isLong)
    throw new HearthError('BAD_REQUEST', `a subject has at most ${SUBJECT_BYTES_MAX} bytes`)
  if (max < 1 || max > LIMIT_MAX)
    throw new HearthError('BAD_REQUEST', `max must be from 1 to ${LIMIT_MAX}, not ${max}`)
  if (windowMs < 1 || windowMs > WINDOW_MS_MAX)
    throw new HearthError('BAD_REQUEST', `windowMs must be from 1 to ${WINDOW_MS_MAX}`)
}
