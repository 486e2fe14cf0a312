/** pipeline_words: the numbers in which the class Pipeline answers, apart from it: this file loads nothing.
 *  Owns:   the numbers, which are src/pipeline.h's.   Thread: any.   Holds: nothing. */

/** Second word of an answer. ROWS: a body of PROTOCOL.md's ROWS stands in `output`. REFUSED: a msgpack array [sqlState, message,
 *  detail, hint, position, severity], nil where absent, all text but the position. TOO_LARGE: the result passes maxBytes; the
 *  statement has run, or was cancelled while it answered. ABORTED: nothing of the statement stands, for a reason that is not
 *  its own, and it may be sent again. */
export const ANSWER = { ROWS: 0, REFUSED: 1, TOO_LARGE: 2, ABORTED: 3 } as const
/** What sending gives. NEEDS_VALUES: nothing was sent; a parameter is one that executeValues() must be given as text or
 *  bytes. REFUSED: nothing was sent; not connected, or PENDING_COUNT_MAX requests are out. */
export const SEND = { DONE: 0, NEEDS_VALUES: 1, REFUSED: -1 } as const
/** Int32 words of an answer: id, kind, start and end of its bytes in `output`. */
export const ANSWER_WORDS = 4
