/** recorded: a step of a transaction whose statement is noted as it is answered.
 *  Owns:   nothing.   Not here: what is noted (recorder.ts).   Thread: postgres worker.
 *  Holds:  the step is answered as it would be, by the same functions. */

import { monotonicMs } from '../../../engine/clock.ts'
import type { RequestFrame } from '../../handler.ts'
import type { Statement } from '../statement.ts'
import type { Step } from '../step.ts'

/** `paramsAt`: where the parameters begin in the frame, which is valid only now. `statement` is what was asked, which has a mark:
 *  what is sent may have a comment behind it. */
export function recorded(
  step: Step,
  frame: RequestFrame,
  paramsAt: number,
  statement: Statement,
): Step {
  const params = Buffer.from(frame.bytes.subarray(paramsAt, frame.end))
  const call = {
    statement,
    client: frame.client ?? 0,
    params,
    paramsStart: 0,
    paramsEnd: params.length,
    startedMs: monotonicMs(),
    sentMs: 0,
    rows: -1,
  }
  return {
    ...step,
    sent: () => {
      call.sentMs = monotonicMs()
    },
    resolve: result => {
      statement.mark?.recorder.ranAlone(call, result.body)
      step.resolve(result)
    },
    reject: error => {
      const tookMs = call.sentMs === 0 ? 0 : monotonicMs() - call.sentMs
      statement.mark?.recorder.failed(call, error, tookMs)
      step.reject(error)
    },
  }
}
