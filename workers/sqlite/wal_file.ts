/** WalFile: has the kernel write the log to the disk while it grows: a checkpoint, which waits for that, then has little to wait for.
 *  Owns:   a descriptor of the log, for that alone.   Not here: when to checkpoint (upkeep.ts, wal_pace.ts).
 *  Thread: the sqlite worker.
 *  Holds:  (1) nothing depends on it: SQLite syncs the log before each checkpoint as ever, and hears of errors through its own
 *          descriptor. Where the system refuses, it is left.
 *          (2) closing the descriptor takes no lock from SQLite: those of a log are on other files.
 *
 *  Measured, in groups of four puts: a checkpoint of 12 MiB took 12.4 ms and takes 1.9 where keys come one after another, 24 and 17
 *  where each is another page; and up to 20 % more puts go through, for nobody waits for that disk.
 *  Not done: a checkpoint in a thread of its own, which is 6 MB of memory, or a second SQLite in C; fdatasync in libuv's pool, which
 *  cannot call back into a thread that sleeps in Atomics.wait. */

import { closeSync, openSync } from 'node:fs'
import { loadWriteback, type StartWriteback } from '../../native-bindings/writeback.ts'
import type { SqliteStore } from './store.ts'

/** So much at a time: 50 µs of work for the thread that asks. */
const STEP_BYTES = 256 * 1024

export class WalFile {
  private readonly store: SqliteStore
  private readonly start: StartWriteback | undefined
  private fd = -1
  private epoch = -1
  /** Up to here it has been asked for. */
  private startedBytes = 0

  /** `start`: what asks the kernel; undefined where it cannot be asked. */
  constructor(store: SqliteStore, start: StartWriteback | undefined = writeback()) {
    this.store = store
    // With OFF nobody waits for the disk, with FULL each commit has.
    this.start = store.options.synchronous === 'NORMAL' ? start : undefined
    // Before anything is asked for, so that an engine at work opens no files.
    if (this.start !== undefined && store.statements !== undefined) this.open()
  }

  /** The log has so many bytes now, counted from its beginning. */
  grew(bytes: number): void {
    if (this.start === undefined) return
    if (bytes < this.startedBytes) this.startedBytes = 0
    const more = bytes - this.startedBytes
    if (more < STEP_BYTES) return
    if (this.open() && this.start(this.fd, this.startedBytes, more) < 0) this.close()
    this.startedBytes = bytes
  }

  close(): void {
    if (this.fd < 0) return
    closeSync(this.fd)
    this.fd = -1
  }

  /** Opens the log of the store's file, which is another one after damage. */
  private open(): boolean {
    if (this.fd >= 0 && this.epoch === this.store.epoch) return true
    this.close()
    this.epoch = this.store.epoch
    try {
      this.fd = openSync(`${this.store.options.file}-wal`, 'r')
    } catch {
      // Without it a checkpoint takes longer, nothing else.
    }
    return this.fd >= 0
  }
}

function writeback(): StartWriteback | undefined {
  try {
    return loadWriteback()
  } catch {
    return undefined
  }
}
