/** PendingWrites: which keys this client is changing right now, so that it never reads past a write of its own.
 *  Owns:   the count of unanswered writes by key.
 *  Thread: the client's.
 *  Holds:  a key is here from the moment its write is asked for until that is answered, refused or given up. */

/** What a request changes: a key, or several. */
export type Written = string | readonly string[]

/** In the place of a key: nobody can say which, as of a tag's entries. No entry has this key. */
export const EVERY_KEY = ''

export class PendingWrites {
  private readonly counts = new Map<string, number>()

  begin(written: Written): void {
    if (typeof written !== 'string') for (const key of written) this.begin(key)
    else this.counts.set(written, (this.counts.get(written) ?? 0) + 1)
  }

  end(written: Written): void {
    if (typeof written !== 'string') {
      for (const key of written) this.end(key)
      return
    }
    const left = this.counts.get(written)! - 1
    if (left === 0) this.counts.delete(written)
    else this.counts.set(written, left)
  }

  /** Whether a write of this key has no answer yet. */
  has(key: string): boolean {
    const { counts } = this
    return counts.size > 0 && (counts.has(key) || counts.has(EVERY_KEY))
  }
}
