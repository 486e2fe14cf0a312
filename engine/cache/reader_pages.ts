/** ReaderPages: what clients that read tier 1 in place have used: their pages made, read and taken away again.
 *  Owns:   the pages' files, the folder they are in, the timer that looks into them.   Not here: the layout (reader_page.ts).
 *  Thread: main.
 *  Holds:  (1) pages are read by descriptor, never mapped: a client that cuts its file short costs a short read, not a
 *          SIGBUS.  (2) a page's name is known to its client alone (an unguessable name in a folder that cannot be listed) and is gone
 *          once that has mapped it.  (3) while nobody reads, no timer runs here: sweep() once a second finds out. */

import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { monotonicMs } from '../clock.ts'
import { log } from '../log.ts'
import type { Memory } from './memory.ts'
import { markCountOf, READER_PAGE, READER_PAGE_MAGIC, readerPageBytes } from './reader_page.ts'

/** How soon marks are looked at while clients read or the engine is busy. */
const COLLECT_MS = 200
/** More hits in a millisecond than any client can make: what claims more is cut down to it. */
const HITS_PER_MS_MAX = 20_000
const HEAD_BYTES = READER_PAGE.marks * 4
const NEW_FILE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW

export interface ReaderPage {
  readonly path: string
  readonly bytes: number
  release(): void
}

export class ReaderPages {
  private readonly memory: Memory
  private readonly folder: string
  private readonly isForGroup: boolean
  private readonly pages = new Set<Page>()
  private readonly buffer: Buffer
  private readonly head: Int32Array
  private readonly marks: Int32Array
  private readonly union: Int32Array
  private isFolderMade = false
  private timer: NodeJS.Timeout | undefined

  /** Pages beside a segment's file. `isForGroup`: its group may read the segment, so its members get pages too. */
  constructor(memory: Memory, segmentPath: string, isForGroup: boolean) {
    this.memory = memory
    this.folder = readerPagesFolder(segmentPath)
    this.isForGroup = isForGroup
    const bytes = readerPageBytes(memory.slotCount)
    this.buffer = Buffer.alloc(bytes)
    this.head = new Int32Array(this.buffer.buffer, this.buffer.byteOffset, READER_PAGE.marks)
    this.marks = new Int32Array(
      this.buffer.buffer,
      this.buffer.byteOffset + HEAD_BYTES,
      (bytes - HEAD_BYTES) >> 2,
    )
    this.union = new Int32Array(this.marks.length)
  }

  get count(): number {
    return this.pages.size
  }

  /** A page for a client of this uid; undefined when no file could be made, and then it has to use the socket. */
  open(uid: number): ReaderPage | undefined {
    try {
      this.makeFolder()
      const page = new Page(join(this.folder, unguessableName()))
      this.pages.add(page)
      this.prepare(page, uid)
      this.wake()
      return {
        path: page.path,
        bytes: this.buffer.length,
        release: () => this.release(page),
      }
    } catch (error) {
      log('warn', 'a client cannot read tier 1 in place: no page', {
        folder: this.folder,
        error: (error as Error).message,
      })
      return undefined
    }
  }

  /** Something is going on: looks into the pages soon, and again until nothing has changed. */
  wake(): void {
    if (this.timer !== undefined || this.pages.size === 0) return
    this.timer = setTimeout(this.tick, COLLECT_MS).unref()
  }

  /** Takes in what clients have marked and counted since the last time; whether there was anything. */
  collect(): boolean {
    if (this.pages.size === 0) return false
    let isChanged = false
    for (const page of this.pages) isChanged = this.read(page) || isChanged
    if (isChanged) this.mark()
    return isChanged
  }

  /** Once a second or so: clients that read in place say nothing on the socket. */
  sweep(): void {
    if (this.collect()) this.wake()
  }

  /** Takes every page away, and the folder. */
  close(): void {
    clearTimeout(this.timer)
    this.timer = undefined
    for (const page of this.pages) page.close()
    this.pages.clear()
    if (this.isFolderMade) rmSync(this.folder, { recursive: true, force: true })
    this.isFolderMade = false
  }

  private readonly tick = (): void => {
    this.timer = undefined
    if (this.collect()) this.wake()
  }

  private makeFolder(): void {
    if (this.isFolderMade) return
    // Members of the group may pass through, not list: a page's name is its key.
    mkdirSync(this.folder, { mode: 0o700 })
    if (this.isForGroup) chmodSync(this.folder, 0o710) // Whatever the umask.
    this.isFolderMade = true
  }

  /** Writes the page's zeros, so that its memory is there before anybody maps it, and opens it to its client. */
  private prepare(page: Page, uid: number): void {
    const own = process.geteuid?.() ?? -1
    try {
      this.buffer.fill(0)
      this.head[READER_PAGE.magic] = READER_PAGE_MAGIC
      if (writeSync(page.fd, this.buffer, 0, this.buffer.length, 0) !== this.buffer.length)
        throw new Error('there is no room for it')
      if (own === 0 && uid > 0) fchownSync(page.fd, uid, -1)
      else if (uid !== own && uid > 0 && this.isForGroup) fchmodSync(page.fd, 0o660)
    } catch (error) {
      this.pages.delete(page)
      page.close()
      throw error
    }
  }

  /** Reads one page into the union of marks; whether it has news. */
  private read(page: Page): boolean {
    const { head } = this
    try {
      if (readSync(page.fd, this.buffer, 0, HEAD_BYTES, 0) < HEAD_BYTES) return false
      if (page.isNamed && head[READER_PAGE.mapped] !== 0) page.unlink()
      const hits = (head[READER_PAGE.hits]! - page.hits) >>> 0
      const misses = (head[READER_PAGE.misses]! - page.misses) >>> 0
      if (hits === 0 && misses === 0) return false
      page.hits = head[READER_PAGE.hits]!
      page.misses = head[READER_PAGE.misses]!
      const countMax = page.countMax(monotonicMs())
      this.memory.addInPlace(Math.min(hits, countMax), Math.min(misses, countMax))
      if (hits > 0) this.takeMarks(page)
      return true
    } catch {
      return false // A descriptor of ours does not fail to be read; if it does, this client's marks are lost, no more.
    }
  }

  private takeMarks(page: Page): void {
    const { buffer, marks, union } = this
    const bytes = buffer.length - HEAD_BYTES
    const found = readSync(page.fd, buffer, HEAD_BYTES, bytes, HEAD_BYTES)
    if (found < bytes) return
    for (let i = 0; i < marks.length; i++) union[i]! |= marks[i]!
    // A mark that the client sets between the read and this write is lost; it sets it again at its next hit.
    marks.fill(0)
    writeSync(page.fd, buffer, HEAD_BYTES, bytes, HEAD_BYTES)
  }

  private mark(): void {
    this.memory.markSlots(this.union, markCountOf(this.buffer.length))
    this.union.fill(0)
  }

  private release(page: Page): void {
    if (!this.pages.delete(page)) return
    if (this.read(page)) this.mark()
    page.close()
  }
}

/** 32 hexadecimal digits. Not by node:crypto, which is 1 MB. */
function unguessableName(): string {
  const fd = openSync('/dev/urandom', 'r')
  try {
    const bytes = Buffer.alloc(16)
    if (readSync(fd, bytes, 0, 16, null) !== 16) throw new Error('/dev/urandom gives nothing')
    return bytes.toString('hex')
  } finally {
    closeSync(fd)
  }
}

/** Where the pages of a segment are. */
export function readerPagesFolder(segmentPath: string): string {
  return `${segmentPath}.pages`
}

class Page {
  readonly path: string
  readonly fd: number
  isNamed = true
  hits = 0
  misses = 0
  private countedMs = monotonicMs()

  constructor(path: string) {
    this.path = path
    this.fd = openSync(path, NEW_FILE, 0o600)
  }

  /** How many hits there can have been since the last call. */
  countMax(nowMs: number): number {
    const countMax = Math.ceil((nowMs - this.countedMs + 1) * HITS_PER_MS_MAX)
    this.countedMs = nowMs
    return countMax
  }

  unlink(): void {
    if (!this.isNamed) return
    this.isNamed = false
    try {
      unlinkSync(this.path)
    } catch {
      // Somebody has tidied up before.
    }
  }

  close(): void {
    this.unlink()
    closeSync(this.fd)
  }
}
