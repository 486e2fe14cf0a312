/** wal_share: how much of tier 2's bound its write-ahead log may have.
 *  Owns:   the share.   Not here: keeping it (room.ts, upkeep.ts).
 *  Thread: the sqlite worker.   Holds: the log always has room for a group, and never more than a checkpoint is worth. */

const WAL_BYTES_LEAST = 256 * 1024
/** More would only put off the checkpoint: fsyncs are paid for by then. */
const WAL_BYTES_MOST = 16 * 1024 * 1024

/** The log's share of a bound, in bytes. */
export function walBytesOf(maxBytes: number): number {
  return Math.min(Math.max(Math.floor(maxBytes / 4), WAL_BYTES_LEAST), WAL_BYTES_MOST)
}
