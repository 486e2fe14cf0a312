/** sample: one call of a fingerprint as it was made, for whoever asks for its plan later.
 *  Owns:   the bytes that samples take together.   Not here: how a plan is had (explain.ts).
 *  Thread: postgres worker.
 *  Holds:  it never leaves the worker: what does is masked (masking.ts). */

export interface Sample {
  readonly sql: string
  /** The parameters: msgpack. */
  readonly params: Buffer
  readonly takenMs: number
}

export const SAMPLE_SQL_CHARS_MAX = 4_096
export const SAMPLE_PARAMS_BYTES_MAX = 1_024
/** All samples together. */
export const SAMPLES_BYTES_MAX = 128 * 1024
/** A sample is taken anew after this: the values that are asked for change. */
export const SAMPLE_AGE_MS = 3_600_000
/** Of shorter statements nobody wants a plan. */
export const SAMPLE_MS_MIN = 0.3

export function sampleBytes({ sql, params }: Sample): number {
  return sql.length + params.length
}
