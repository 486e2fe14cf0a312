/** extras: alerts and slow statements, which an engine may be without, as rows.
 *  Owns:   nothing.   Thread: any, a browser's too.
 *  Holds:  what is not of the expected shape is left out: a page may be older or newer than what it looks at. */

export interface AlertRow {
  readonly name: string
  readonly severity: string
  readonly words: string
  /** Since 1970; null: not told. */
  readonly sinceMs: number | null
  /** Null: it goes on. */
  readonly endedMs: number | null
}

export interface SlowRow {
  readonly database: string
  /** Without the values. */
  readonly text: string
  readonly atMs: number | null
  readonly tookMs: number
  readonly caller: string
}

const ROW_COUNT_MAX = 20

/** Takes `{ active: […], recent: […] }`; those that go on first, then the newest. Undefined: the engine has none of it. */
export function alertsOf(answer: unknown): AlertRow[] | undefined {
  if (!isRecord(answer)) return undefined
  const active = listOf(answer['active']).map(alert => alertOf(alert, true))
  const over = listOf(answer['recent']).map(alert => alertOf(alert, false))
  const recent = over.sort((a, b) => (b.sinceMs ?? 0) - (a.sinceMs ?? 0))
  return [...active, ...recent].slice(0, ROW_COUNT_MAX)
}

/** Takes a list of slow statements, or `{ slow: […] }`; the newest first. Undefined: the engine has none of it. */
export function slowOf(answer: unknown): SlowRow[] | undefined {
  const found = isRecord(answer) ? answer['slow'] : answer
  if (!Array.isArray(found)) return undefined
  return listOf(found)
    .slice(0, ROW_COUNT_MAX)
    .map(slow => ({
      database: text(slow['database']),
      text: text(slow['text']).replace(/\s+/g, ' ').trim(),
      atMs: numberOf(slow['atMs'] ?? slow['lastAtMs']),
      tookMs: numberOf(slow['tookMs'] ?? slow['maxMs']) ?? 0,
      caller: text(slow['caller']),
    }))
}

function alertOf(alert: Record<string, unknown>, isActive: boolean): AlertRow {
  const sinceMs = numberOf(alert['sinceMs'] ?? alert['startedAtMs'] ?? alert['atMs'])
  const endedMs = numberOf(alert['endedMs'] ?? alert['endedAtMs'] ?? alert['resolvedAtMs'])
  return {
    name: text(alert['name'] ?? alert['rule'] ?? alert['alert']),
    severity: text(alert['severity'] ?? alert['level']),
    words: text(alert['message'] ?? alert['words'] ?? alert['reason'] ?? alert['summary']),
    sinceMs,
    endedMs: isActive ? null : (endedMs ?? sinceMs),
  }
}

function listOf(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isRecord) : []
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function text(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : ''
}

function numberOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null
}
