/** writeback: begins writing a part of a file to its disk, without waiting for it, typed.
 *  Owns:   nothing.
 *  Thread: any.
 *  Holds:  what src/writeback.h says; a file of its own, so that a worker loads this and not all of index.ts. */
import load from './load.cjs'

/** sync_file_range(2): descriptor, first byte, bytes. 0, or a negative errno. */
export type StartWriteback = (fd: number, at: number, bytes: number) => number

/** Throws when the binding is not built. */
export function loadWriteback(): StartWriteback {
  return load.loadNative(import.meta.dirname).startWriteback
}
