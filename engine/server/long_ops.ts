/** long_ops: the operations whose bodies are as long as their users make them: too long a one is refused, and read past.
 *  Owns:   nothing.   Thread: main.   Holds: every other operation's body is a key and a few numbers. */

import { OPS } from '../protocol/spec.ts'

export const LONG_OPS: ReadonlySet<number> = new Set(
  [
    OPS.SET,
    OPS.STORE,
    OPS.FILL,
    OPS.SET_MANY,
    OPS.QUERY,
    OPS.QUERY_CACHED,
    OPS.EXECUTE,
    OPS.STREAM,
  ].map(op => op.code),
)
