/** sql_comment: where a comment of SQL ends.   Owns: nothing.   Thread: any.
 *  Holds:  comments nest, as the server has them; one that is not closed reaches to the end. */

const SLASH = 0x2f
const STAR = 0x2a

/** Behind a comment whose contents begin at `from`, at `stop` at the most. */
export function afterComment(sql: string, from: number, stop = sql.length): number {
  let depth = 1
  for (let at = from; at < stop; at++) {
    const code = sql.charCodeAt(at)
    const next = sql.charCodeAt(at + 1)
    if (code === STAR && next === SLASH) {
      at++
      if (--depth === 0) return at + 1
    } else if (code === SLASH && next === STAR) {
      at++
      depth++
    }
  }
  return stop
}
