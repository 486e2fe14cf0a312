/** Parameters: JavaScript values → what libpq sends, text or (a Buffer) binary.
 *  Owns:   nothing.   Not here: results (types.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) as npm `pg` does: Date in local time with its offset, arrays as Postgres arrays, objects as JSON.
 *          (2) what would reach Postgres as something else than was meant is BAD_REQUEST, nothing is sent. */

import type { Parameter } from 'pg-native'
import { HearthError } from '../../engine/errors.ts'
import { PARAM_COUNT_MAX } from './database.ts'

export function toParameters(values: readonly unknown[]): Parameter[] {
  if (values.length > PARAM_COUNT_MAX) {
    throw new HearthError(
      'BAD_REQUEST',
      `${values.length} parameters: Postgres takes ${PARAM_COUNT_MAX}`,
    )
  }
  const params: Parameter[] = new Array(values.length)
  for (let index = 0; index < values.length; index++)
    params[index] = toParameter(values[index], index)
  return params
}

/** `index` counts from 0, for the message alone. */
function toParameter(value: unknown, index: number): Parameter {
  switch (typeof value) {
    case 'string':
      return checked(value, index)
    case 'number':
    case 'bigint':
    case 'boolean':
      return String(value)
    case 'undefined':
      return null
    case 'object':
      if (value === null) return null
      if (value instanceof Uint8Array) return asBuffer(value)
      if (Array.isArray(value)) return checked(toArrayLiteral(value, index), index)
      return checked(fromObject(value, index), index)
    default:
      throw refused(index, `a ${typeof value}`)
  }
}

function fromObject(value: object, index: number): string {
  if (value instanceof Date) return toTimestamp(value, index)
  if (value instanceof Map || value instanceof Set) {
    throw refused(index, `a ${value.constructor.name}`) // JSON would have it as {}
  }
  try {
    return JSON.stringify(value)
  } catch (cause) {
    throw refused(index, `an object without JSON (${(cause as Error).message})`)
  }
}

function toArrayLiteral(values: readonly unknown[], index: number): string {
  return `{${values.map(value => toElement(value, index)).join(',')}}`
}

function toElement(value: unknown, index: number): string {
  if (value === null || value === undefined) return 'NULL'
  if (Array.isArray(value)) return toArrayLiteral(value, index)
  if (value instanceof Uint8Array) return `"\\\\x${asBuffer(value).toString('hex')}"`
  const text = toParameter(value, index) as string
  return `"${text.replace(/[\\"]/g, '\\$&')}"`
}

/** 2016-01-11T17:30:00.000+01:00: for `timestamp` the local wall clock counts, for `timestamptz` the moment. */
function toTimestamp(date: Date, index: number): string {
  if (Number.isNaN(date.getTime())) throw refused(index, 'an invalid Date')
  const year = date.getFullYear()
  const isBeforeChrist = year < 1
  const offsetMinutes = -date.getTimezoneOffset()
  const distance = Math.abs(offsetMinutes)
  const text =
    `${pad(isBeforeChrist ? 1 - year : year, 4)}-${pad(date.getMonth() + 1, 2)}-${pad(date.getDate(), 2)}` +
    `T${pad(date.getHours(), 2)}:${pad(date.getMinutes(), 2)}:${pad(date.getSeconds(), 2)}` +
    `.${pad(date.getMilliseconds(), 3)}` +
    `${offsetMinutes < 0 ? '-' : '+'}${pad(Math.floor(distance / 60), 2)}:${pad(distance % 60, 2)}`
  return isBeforeChrist ? `${text} BC` : text
}

function pad(value: number, digits: number): string {
  return String(value).padStart(digits, '0')
}

/** libpq ends a text at its first zero byte, so the rest would be lost in silence. */
function checked(text: string, index: number): string {
  if (text.includes('\0')) throw refused(index, 'text with a zero character')
  return text
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function refused(index: number, what: string): HearthError {
  return new HearthError(
    'BAD_REQUEST',
    `parameter $${index + 1} is ${what}, which Postgres cannot take`,
  )
}
