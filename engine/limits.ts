/** Limits: every bound that is not configuration, in one place, with the relations that must hold between them.
 *  Owns:   the numbers.   Not here: what an operator sets (config/schema.ts).
 *  Thread: any.
 *  Holds:  the assertions below, at load, in every thread. */

import { assert } from './assert.ts'

/** Data bytes of one ring. Two rings a worker, so this is paid twice; larger bought no throughput (bench/micro/ring.bench.ts). */
export const RING_BYTES = 128 * 1024
/** The most payload of one record; a longer message goes as several. */
export const RECORD_BYTES_MAX = RING_BYTES / 8
/** Requests a worker may hold unanswered before sessions stop reading. */
export const TICKET_COUNT_MAX = 8_192
/** Records handled in one turn of a worker's or main's loop before others get theirs. */
export const DRAIN_COUNT_MAX = 1_024
/** Messages longer than one record that may wait for room in a ring, in bytes. */
export const OUTBOX_BYTES_MAX = 16 * 1024 * 1024

/** Unanswered requests of one connection before its socket is no longer read. */
export const SESSION_INFLIGHT_COUNT_MAX = 2_048
/** While others ask too: requests of one connection that are taken in one turn, and that are unanswered; and how long after two
 *  connections took turns the engine counts as shared. */
export const SHARED_TURN_COUNT_MAX = 256
export const SHARED_INFLIGHT_COUNT_MAX = 512
export const SHARED_MS = 100
/** Transactions, streams and COPYs that one connection may have open; each has a database connection while it lasts. */
export const HANDLE_COUNT_MAX = 256
/** LISTENs of one connection, and of all: each holds a ticket for as long as it lasts. */
export const SUBSCRIPTIONS_OF_ONE_MAX = 256
export const SUBSCRIPTION_COUNT_MAX = TICKET_COUNT_MAX / 4
/** Subscriptions to messages and key changes of one connection, and of all; the longest channel or glob, and message. */
export const PATTERNS_OF_ONE_MAX = 256
export const PATTERN_COUNT_MAX = 16_384
export const CHANNEL_BYTES_MAX = 1_280
export const MESSAGE_BYTES_MAX = 64 * 1024
/** Replies that a connection has not taken yet: past the first it is not read, past the second it is closed. */
export const SESSION_UNSENT_BYTES_PAUSE = 1024 * 1024
export const SESSION_UNSENT_BYTES_MAX = 32 * 1024 * 1024
/** A connection says HELLO within this time, and finishes a frame it has begun. */
export const SESSION_HELLO_MS_MAX = 5_000
export const SESSION_FRAME_MS_MAX = 10_000
/** A connection that is being closed may take the last replies within this time. */
export const SESSION_CLOSE_MS_MAX = 1_000
export const SESSION_COUNT_MAX = 4_096
/** By which connections are told apart in a worker; a ring has 31 bits for it. */
export const CLIENT_NUMBER_MAX = 2 ** 30 - 1
/** What one read from a socket may bring: the buffer is shared by all sessions. */
export const READ_BYTES = 64 * 1024
/** A flush starts when a session's replies pass this, even in the middle of a turn. */
export const WRITE_BYTES = 32 * 1024
/** Large frames being put together, over all connections. */
export const ASSEMBLY_BYTES_MAX = 16 * 1024 * 1024 + 64 * 1024
export const CLIENT_NAME_BYTES_MAX = 128

/** A value longer than this is fetched from tier 2 piece by piece, as fast as its reader takes it. */
export const PART_BYTES = 256 * 1024
/** Bytes of one piece of a COPY: at most; what the engine gives out, which fits a buffer that is used again; and what the client
 *  sends, which fits one record of a ring. Larger pieces are no faster, and each leaves its buffers to be collected. */
export const COPY_CHUNK_BYTES_MAX = 64 * 1024
export const COPY_OUT_BYTES = WRITE_BYTES - 64
export const COPY_IN_BYTES = RECORD_BYTES_MAX - 64
/** Keys or entries in one frame of GET_MANY or SET_MANY, and the bytes of values that one reply has from each tier. */
export const MANY_COUNT_MAX = 1_000
export const MANY_BYTES_MAX = 512 * 1024
/** A longer body of GET_MANY is no frame of ours: its keys would be longer than any may be. */
export const MANY_KEYS_BYTES_MAX = 2 * 1024 * 1024
export const TAG_BYTES_MAX = 256
/** Tags in one request to invalidate them. */
export const TAGS_COUNT_MAX = 256
/** Patterns that are being invalidated at a time. */
export const PATTERN_WALK_COUNT_MAX = 16

/** Keys that are being loaded at a time (getOrSet), those who wait for them, and both for one connection. */
export const CLAIM_COUNT_MAX = 16_384
export const CLAIM_WAITER_COUNT_MAX = 16_384
export const CLAIM_SESSION_COUNT_MAX = 4_096
/** How long a claim may be held and waited for, and how often that is looked at. */
export const CLAIM_MS_MAX = 600_000
export const CLAIM_WAIT_MS_MAX = 60_000
export const CLAIM_SWEEP_MS = 50
/** Keys in the list of those read most. */
export const HOT_COUNT_MAX = 16_384
/** How much of a start goes to bringing those back into tier 1, at most: whoever comes later waits no longer. */
export const WARM_MS_MAX = 200
/** A clean shutdown writes the list within this, or leaves the one that is there. */
export const HOT_SAVE_MS_MAX = 500
/** What one reply to LOAD_HOT has and takes: entries, bytes of values, and milliseconds, which a slow disk uses up first. */
export const HOT_PART_COUNT_MAX = 128
export const HOT_PART_BYTES_MAX = 64 * 1024
export const HOT_PART_MS_MAX = 20
/** With so many to come, each thread gives back first what starting has left: 10 to 20 ms, not worth it for a few. */
export const HOT_COLLECT_COUNT = 1_000
/** The body of one SAVE_HOT, which goes into one record of a ring. */
export const HOT_SAVE_BYTES_MAX = RECORD_BYTES_MAX - 64
/** Results in the list of those read most, and its bytes; and what is remembered, to make one, of how they were asked for. */
export const RESULT_LIST_COUNT_MAX = 256
export const RESULT_LIST_BYTES_MAX = 64 * 1024
export const RECIPE_COUNT_MAX = 256
export const RECIPE_CHARS_MAX = 64 * 1024
/** After a start these are fetched anew for so long, so many at a time: nobody waits for them. */
export const WARM_RESULTS_MS_MAX = 10_000
export const WARM_RESULTS_AT_A_TIME = 2
/** What all lists of a day write to the disk at most, and how much of that may come at once. */
export const HOT_DAY_BYTES_MAX = 16 * 1024 * 1024
export const HOT_BURST_BYTES_MAX = 1024 * 1024

/** Refreshes of cached results that nobody waits for begin only below so many statements in flight. */
export const QUERY_FLIGHT_COUNT_MAX = 64

/** Keys in one reply to KEYS. */
export const KEYS_COUNT_MAX = 1_000

/** How long a worker may take to open its files, and how soon a dead one is replaced: first at once, then with a pause that doubles. */
export const WORKER_READY_MS_MAX = 30_000
export const WORKER_RESTART_MS = 50
export const WORKER_RESTART_MS_MAX = 800
/** A worker that answers no ping for this long is ended and replaced. */
export const WORKER_PING_MS = 2_000
export const WORKER_SILENT_MS_MAX = 60_000

/** Shutdown: what is in flight may finish within this, then it is cut. */
export const DRAIN_MS_MAX = 3_000
/** All of a shutdown: the drain, the list of what is hot, closing connections and files. */
export const STOP_MS_MAX = 2 * DRAIN_MS_MAX + HOT_SAVE_MS_MAX
/** A shutdown begins with clients being told to go: so long they have for it, and with something to finish a bit longer. */
export const LEAVE_MS_MAX = 500
export const LEAVE_OPEN_MS_MAX = DRAIN_MS_MAX / 2
/** No request for this long: threads collect garbage and give memory back. */
export const IDLE_MS = 500

assert((RING_BYTES & (RING_BYTES - 1)) === 0, 'ring positions wrap with a mask, not a modulo')
assert(RECORD_BYTES_MAX <= RING_BYTES / 8, 'one record must never fill the ring')
assert(PART_BYTES < OUTBOX_BYTES_MAX, 'a part fits the outbox')
assert(SESSION_INFLIGHT_COUNT_MAX < TICKET_COUNT_MAX, 'one connection cannot take every ticket')
assert(
  SESSION_UNSENT_BYTES_PAUSE < SESSION_UNSENT_BYTES_MAX,
  'a slow reader is paused before it is closed',
)
assert(WORKER_RESTART_MS_MAX < 1_000, 'a dead worker is back within a second')
