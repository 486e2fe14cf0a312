/** Values: whatever the cache or Postgres holds, as JSON text and as people read it.
 *  Owns:   how types that JSON lacks are written.   Thread: any.
 *  Holds:  jsonText() never throws on a value that came over the socket, and loses no digits: a bigint is text. */

import { inspect } from 'node:util'

/** JSON of any value. Date: ISO text; bigint, NaN and infinities: text; bytes: `{ base64 }`; Set: a list; Map: an object
 *  when all its keys are text, else a list of pairs; Error: its name and message. */
export function jsonText(value: unknown, indent = 0): string {
  return JSON.stringify(jsonable(value), undefined, indent) ?? 'null'
}

/** For a terminal or a pipe to a person: text as it is, plain data as indented JSON, and what JSON lacks as Node shows it. */
export function shownValue(value: unknown, hasColours: boolean): string {
  if (typeof value === 'string') return value
  if (isPlainData(value)) return JSON.stringify(value, undefined, 2)
  return inspect(value, {
    colors: hasColours,
    depth: Number.POSITIVE_INFINITY,
    maxArrayLength: 1_000,
    maxStringLength: null,
  })
}

function jsonable(value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString()
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Date)
    return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString()
  if (value instanceof Uint8Array) return { base64: Buffer.from(value).toString('base64') }
  if (ArrayBuffer.isView(value)) return jsonable(Array.from(value as Float64Array))
  if (value instanceof ArrayBuffer) return jsonable(new Uint8Array(value))
  if (value instanceof Map) return jsonableMap(value)
  if (value instanceof Set) return [...value].map(jsonable)
  if (value instanceof Error) return { name: value.name, message: value.message }
  if (value instanceof RegExp) return String(value)
  if (Array.isArray(value)) return value.map(jsonable)
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, jsonable(inner)]))
}

function jsonableMap(map: ReadonlyMap<unknown, unknown>): unknown {
  const pairs = [...map].map(([key, value]) => [jsonable(key), jsonable(value)] as const)
  return [...map.keys()].every(key => typeof key === 'string') ? Object.fromEntries(pairs) : pairs
}

/** What JSON.parse could have given. */
function isPlainData(value: unknown): boolean {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return true
  if (typeof value === 'number') return Number.isFinite(value)
  if (Array.isArray(value)) return value.every(isPlainData)
  if (typeof value !== 'object') return false
  const prototype = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return false
  return Object.values(value).every(isPlainData)
}

/** Text that cannot leave its line or its cell, nor speak to the terminal: control characters are escaped. */
export function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, char => {
    const short = SHORT[char]
    return short ?? `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`
  })
}

const SHORT: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }
