/** begin_text: BEGIN as a frame wants it.
 *  Owns:   nothing.   Thread: postgres worker.   Holds: nothing of a frame's gets into the text but words that are known. */

import { HearthError } from '../../engine/errors.ts'
import { BEGIN_FLAGS } from '../../engine/protocol/spec.ts'

/** Throws BAD_REQUEST for an isolation that there is not. */
export function beginText(isolation: string, flags: number): string {
  if (isolation !== '' && !ISOLATIONS.has(isolation)) {
    const known = [...ISOLATIONS].join(', ')
    throw new HearthError(
      'BAD_REQUEST',
      `no isolation is called "${isolation}"; there are ${known}`,
    )
  }
  const level = isolation === '' ? '' : ` isolation level ${isolation}`
  const mode = (flags & BEGIN_FLAGS.readOnly) !== 0 ? ' read only' : ''
  const patience = (flags & BEGIN_FLAGS.deferrable) !== 0 ? ' deferrable' : ''
  return `begin${level}${mode}${patience}`
}

const ISOLATIONS: ReadonlySet<string> = new Set([
  'read uncommitted',
  'read committed',
  'repeatable read',
  'serializable',
])
