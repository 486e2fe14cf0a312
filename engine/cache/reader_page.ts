/** The reader page: what a client that reads tier 1 in place reports back, drawn. One a client: the engine makes the file, the client
 *  maps it and writes it, main looks into it now and then (reader_pages.ts).
 *  Owns:   the layout.   Thread: the client's writes; main reads, and clears marks.
 *  Holds:  whatever stands in it is a hint: main takes no address, size or time from it, so garbage skews eviction and
 *          the hit rate at worst.
 *
 *      words   0         1        2        3          16
 *              | magic   | mapped | hits   | misses   | marks: a bit a slot ...
 *
 *  `hits` and `misses` only grow, and wrap. Slot s has the mark s % markCountOf(bytes): a page has room for all of a segment's
 *  slots but the last few, unless the segment is so large that several share one. */

import { assert } from '../assert.ts'

export const READER_PAGE_MAGIC = 0x4854_5250 // 'HTRP'
export const READER_PAGE_BYTES_MIN = 4096
export const READER_PAGE_BYTES_MAX = 64 * 1024

/** Indexes of words. `mapped` is 1 once the client has mapped the page, which then needs no name any more. */
export const READER_PAGE = { magic: 0, mapped: 1, hits: 2, misses: 3, marks: 16 } as const

assert(READER_PAGE.marks * 4 < READER_PAGE_BYTES_MIN, 'a page has room for marks')

/** How large the pages for a segment of so many slots are: a multiple of 4096. */
export function readerPageBytes(slotCount: number): number {
  const bytes = Math.max(READER_PAGE_BYTES_MIN, slotCount >> 3)
  return Math.min(READER_PAGE_BYTES_MAX, Math.ceil(bytes / 4096) * 4096)
}

export function markCountOf(pageBytes: number): number {
  return (pageBytes - READER_PAGE.marks * 4) * 8
}
