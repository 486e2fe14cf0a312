/** assert: our own bugs, said at once. What the world or a caller does wrong is a HearthError or a TypeError instead.
 *  Owns:   nothing.   Thread: any.   Holds: a failed assertion never returns. */

export function assert(condition: unknown, message = 'assertion failed'): asserts condition {
  if (!condition) throw new AssertionError(message)
}

export class AssertionError extends Error {
  override readonly name = 'AssertionError'
}
