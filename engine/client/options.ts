/** options: what callers may say, checked before anything is sent.
 *  Owns:   nothing.   Thread: the client's.
 *  Holds:  an option that does not exist, or is of a wrong kind, throws TypeError: it is the caller's mistake. */

/** Throws for a name that is none of `known`. */
export function checkNames(options: object, known: readonly string[]): void {
  for (const name in options) {
    if (!known.includes(name))
      throw new TypeError(`unknown option '${name}'; there are ${known.join(', ')}`)
  }
}

/** A duration in whole milliseconds above 0; `otherwise` where it is left out. */
export function milliseconds(name: string, value: number | undefined, otherwise: number): number {
  if (value === undefined) return otherwise
  if (typeof value === 'number' && value > 0 && value <= Number.MAX_SAFE_INTEGER)
    return Math.ceil(value)
  throw new TypeError(`${name} must be a number of milliseconds above 0`)
}

/** A whole number from `least` on. */
export function whole(
  name: string,
  value: number | undefined,
  otherwise: number,
  least: number,
): number {
  if (value === undefined) return otherwise
  if (Number.isSafeInteger(value) && value >= least) return value
  throw new TypeError(`${name} must be a whole number, ${least} or more`)
}

export function checkSignal(signal: unknown): void {
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw new TypeError('signal must be an AbortSignal')
}

export function checkText(name: string, value: unknown): void {
  if (typeof value !== 'string') throw new TypeError(`${name} must be a string`)
}

export function checkParams(params: unknown): void {
  if (!Array.isArray(params)) throw new TypeError('params must be an array')
}
