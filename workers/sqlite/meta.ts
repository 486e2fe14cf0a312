/** meta: what few entries have besides key, value, expiry and version, as JSON in their row.
 *  Owns:   the fields' names, which are short since they are stored with each such entry.
 *  Thread: the sqlite worker.
 *  Holds:  an entry with none of them has no meta at all, and pays nothing. */

export interface Meta {
  /** Tags: the version of each, by its id, as they were when the entry was stored. */
  readonly t?: Readonly<Record<string, number>>
  /** Grace in milliseconds: its part of the row's expires_at. */
  readonly g?: number
  /** The value, or each of its pieces, is compressed. */
  readonly z?: 1
  /** Its time to live adapts. */
  readonly a?: 1
}

const NONE: Meta = Object.freeze({})

export function readMeta(text: string | null): Meta {
  return text === null ? NONE : (JSON.parse(text) as Meta)
}

/** Null when there is nothing to say. */
export function metaText(meta: Meta): string | null {
  const text = JSON.stringify(meta)
  return text === '{}' ? null : text
}

/** When the entry is stale: its row may stay longer, by its grace. */
export function freshUntilMs(goneAtMs: number, meta: Meta): number {
  return goneAtMs - (meta.g ?? 0)
}
