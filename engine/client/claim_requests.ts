/** claim_requests: claiming, filling and releasing a key that is to be loaded, as the client sends it and reads the answers.
 *  Owns:   nothing.   Not here: when to do which (flight.ts).
 *  Thread: the client's.
 *  Holds:  what is written is what protocol/claim_spec.ts says for the operation. */

import type { HearthError } from '../errors.ts'
import {
  BodyReader,
  SCALAR_BYTES_MAX,
  textBytesMax,
  writeNil,
  writeTime,
  writeUint,
} from '../protocol/body.ts'
import { CLAIM_FLAG, type OUTCOME } from '../protocol/claim_spec.ts'
import { decodeValue } from '../protocol/payload.ts'
import { OPS, REPLIES } from '../protocol/spec.ts'
import { StoreRequest, writeTexts } from './entry_requests.ts'
import type { Request } from './inflight.ts'
import { failOpen, KeyRequest } from './requests.ts'
import type { StoreOptions } from './set_options.ts'

const reader = new BodyReader()

/** `claimed`: load, then fill or release with the token. `settled`: another has stored it. `nothing`: another found that there is
 *  nothing to store. `held`: another still loads it. `busy`: too many ask; `down`: nobody answers (both with failOpen only). */
export type ClaimAnswer =
  | { readonly kind: 'claimed'; readonly token: number }
  | { readonly kind: 'settled' | 'nothing' | 'held' }
  | { readonly kind: 'busy' | 'down'; readonly error: HearthError }

/** What is claimed, and on what terms. */
export interface ClaimTerms {
  /** How long to wait while another loads it. */
  readonly waitMs: number
  /** After so long the claim goes to another who waits. */
  readonly limitMs: number
  /** The version of the entry that is there but not enough. */
  readonly seen: number | undefined
  readonly hasStale: boolean
  /** Whatever is stored, it is to be loaded. */
  readonly isForced: boolean
  readonly tags: readonly string[]
}

export class ClaimRequest extends KeyRequest implements Request {
  readonly op = OPS.CLAIM.code
  readonly isRepeatable = true
  private readonly terms: ClaimTerms
  private readonly isFailOpen: boolean

  constructor(key: string, isFailOpen: boolean, terms: ClaimTerms) {
    super(key)
    this.isFailOpen = isFailOpen
    this.terms = terms
  }

  override bodyBytesMax(): number {
    const tagBytes = this.terms.tags.reduce((sum, tag) => sum + textBytesMax(tag), 5)
    return super.bodyBytesMax() + SCALAR_BYTES_MAX * 4 + tagBytes
  }

  override write(target: Buffer, at: number): number {
    const { waitMs, limitMs, seen, hasStale, isForced, tags } = this.terms
    let end = writeUint(target, super.write(target, at), waitMs)
    end = writeUint(target, end, limitMs)
    end = seen === undefined ? writeNil(target, end) : writeUint(target, end, seen)
    const flags = (hasStale ? CLAIM_FLAG.stale : 0) | (isForced ? CLAIM_FLAG.force : 0)
    return writeTexts(target, writeUint(target, end, flags), tags)
  }

  read(op: number, bytes: Buffer, start: number, end: number): ClaimAnswer {
    switch (op) {
      case REPLIES.CLAIMED.code:
        return { kind: 'claimed', token: reader.reset(bytes, start, end).time() }
      case REPLIES.SETTLED.code:
        return { kind: 'settled' }
      case REPLIES.NOTHING.code:
        return { kind: 'nothing' }
      default:
        return { kind: 'held' }
    }
  }

  giveUp(error: HearthError): ClaimAnswer {
    if (error.code === 'BUSY') return { kind: 'busy', error }
    if (!this.isFailOpen) throw error
    return failOpen(error, { kind: 'down', error })
  }
}

/** STORE by the holder of a claim; false when it was dropped. Never sent twice: a claim ends with its connection. */
export class FillRequest extends StoreRequest {
  override readonly op = OPS.FILL.code
  override readonly isRepeatable = false
  private readonly token: number

  constructor(
    key: string,
    isFailOpen: boolean,
    value: unknown,
    options: StoreOptions,
    token: number,
  ) {
    super(key, isFailOpen, value, options)
    this.token = token
  }

  override bodyBytesMax(): number {
    return super.bodyBytesMax() + SCALAR_BYTES_MAX
  }

  override write(target: Buffer, at: number): number {
    return super.write(target, writeTime(target, at, this.token))
  }

  /** Undefined: the engine is down, and nothing is known of it. */
  override giveUp(error: HearthError): unknown {
    super.giveUp(error)
    return undefined
  }
}

/** Gives a claim up; the answer says whether it was still held. An engine that is gone holds nothing. */
export class ReleaseRequest extends KeyRequest implements Request {
  readonly op = OPS.RELEASE.code
  readonly isRepeatable = false
  private readonly token: number
  private readonly outcome: (typeof OUTCOME)[keyof typeof OUTCOME]
  private readonly restMs: number

  constructor(
    key: string,
    token: number,
    outcome: (typeof OUTCOME)[keyof typeof OUTCOME],
    restMs = 0,
  ) {
    super(key)
    this.token = token
    this.outcome = outcome
    this.restMs = restMs
  }

  override bodyBytesMax(): number {
    return super.bodyBytesMax() + SCALAR_BYTES_MAX * 3
  }

  override write(target: Buffer, at: number): number {
    const end = super.write(target, writeTime(target, at, this.token))
    return writeUint(target, writeUint(target, end, this.outcome), this.restMs)
  }

  read(_op: number, bytes: Buffer, start: number, end: number): unknown {
    return decodeValue(bytes, start, end) === 1
  }

  giveUp(): unknown {
    return false
  }
}
