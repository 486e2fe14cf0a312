/** key_lines: what is known of one key, for people.
 *  Owns:   their words.   Thread: main.
 *  Holds:  what the engine does not tell is left out. */

import { bytes, count, duration } from './table.ts'

type Known = Readonly<Record<string, unknown>>

/** The lines for `hearth stats --key KEY`: one a tier, then its tags and why it lives as long as it does. */
export function keyLines(known: Known, nowMs: number): string[] {
  const { memory, sqlite, adaptive } = known as Record<string, Known | null>
  const lines = [
    `memory    ${memory === null ? 'has no entry' : entryText(memory!, nowMs)}`,
    `SQLite    ${sqlite === null ? 'has no entry' : entryText(sqlite!, nowMs)}`,
  ]
  for (const { tag, version, now } of (sqlite?.['tags'] ?? []) as {
    tag: string
    version: number
    now: number
  }[]) {
    lines.push(`tag       ${tag}${version === now ? '' : ', invalidated since'}`)
  }
  if (adaptive !== null && adaptive !== undefined) lines.push(`adaptive  ${adaptiveText(adaptive)}`)
  if (known['isHidden'] === true)
    lines.push('hidden    what SQLite has is older than what was acknowledged')
  return lines
}

function entryText(entry: Known, nowMs: number): string {
  const parts = [
    `version ${String(entry['version'])}`,
    endText(Number(entry['expiresAtMs']), nowMs),
  ]
  const graceMs = Number(entry['graceMs'] ?? 0)
  if (graceMs > 0) parts.push(`then ${duration(graceMs)} of grace`)
  if (typeof entry['valueBytes'] === 'number') parts.push(bytes(entry['valueBytes']))
  if (entry['isInvalidated'] === true) parts.push('invalidated by a tag')
  if (entry['isCompressed'] === true) parts.push('compressed')
  if (entry['isWritten'] === false) parts.push('not written to the disk yet')
  return parts.join(', ')
}

function endText(expiresAtMs: number, nowMs: number): string {
  if (expiresAtMs === Infinity) return 'until evicted'
  const leftMs = expiresAtMs - nowMs
  return leftMs > 0 ? `expires in ${duration(leftMs)}` : `expired ${duration(-leftMs)} ago`
}

function adaptiveText(state: Known): string {
  const figures = ['stores', 'changes', 'reads'].map(
    name => `${count(Number(state[name]))} ${name === 'reads' ? 'reads since' : name}`,
  )
  return `lives ${duration(Number(state['ttlMs']))} (${String(state['reason'])}); ${figures.join(', ')}`
}
