/** KeyEffects: what a request will do to keys, read from its frame before it is taken.
 *  Owns:   the one list of operations that change keys.   Not here: who wants to know (claims.ts, key_changes.ts).
 *  Thread: main.
 *  Holds:  a request that can change a key has an effect here. It makes garbage, so it is asked only while somebody wants to know. */

import type { BodyReader } from '../protocol/body.ts'
import { OPS } from '../protocol/spec.ts'

export type KeyEffect =
  | { readonly word: 'set' | 'deleted'; readonly keys: readonly string[] }
  | { readonly word: 'tags'; readonly tags: readonly string[] }
  | { readonly word: 'pattern'; readonly pattern: string }

/** The effect of a request whose body the reader is at the beginning of; undefined: it changes no key. */
export function effectOf(op: number, request: BodyReader): KeyEffect | undefined {
  switch (op) {
    case OPS.SET.code:
    case OPS.STORE.code:
    case OPS.INCREMENT.code:
      return { word: 'set', keys: [request.text()] }
    case OPS.FILL.code:
      request.time()
      return { word: 'set', keys: [request.text()] }
    case OPS.SET_MANY.code:
      return { word: 'set', keys: keysOfMany(request) }
    case OPS.DEL.code:
      return { word: 'deleted', keys: [request.text()] }
    case OPS.INVALIDATE_TAGS.code:
      return { word: 'tags', tags: textsOf(request) }
    case OPS.INVALIDATE_PATTERN.code:
      return { word: 'pattern', pattern: request.text() }
    default:
      return undefined
  }
}

/** The texts of an array that the reader is at. */
export function textsOf(request: BodyReader): string[] {
  const texts: string[] = []
  for (let left = request.arrayHead(); left > 0; left--) texts.push(request.text())
  return texts
}

function keysOfMany(request: BodyReader): string[] {
  request.ttl()
  request.uint()
  const keys: string[] = []
  for (let left = request.arrayHead(); left > 0; left -= 2) {
    keys.push(request.text())
    request.binRange()
  }
  return keys
}

/** The numbers of an array of them. */
export function uintsOf(body: BodyReader): number[] {
  const numbers: number[] = []
  for (let left = body.arrayHead(); left > 0; left--) numbers.push(body.uint())
  return numbers
}
