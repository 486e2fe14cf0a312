/** TagTable: tags by name, with the version of each. An entry carries the versions of its tags as they were when it was stored.
 *  Owns:   the rows of `tags` and `tagged`, and a bounded memory of the former.   Not here: transactions (group.ts).
 *  Thread: the sqlite worker.
 *  Holds:  (1) an entry is current only if every tag it carries still has the version it carries: no clock takes part.
 *          (2) ids are never used twice, so a tag that was forgotten leaves nothing that could come back.
 *          (3) what is changed here is written by save() before COMMIT, and dropped by reset() after ROLLBACK.
 *  Source: the snapshot of versions in the entry: jaredwray/cacheable, its tag service. */

import { hashKey } from '../../engine/hash.ts'
import { type Meta, readMeta } from './meta.ts'
import type { Statements } from './statements.ts'

interface Tag {
  readonly id: number
  readonly name: string
  /** What tier 1 knows the tag by. */
  readonly hash: number
  version: number
  /** Rows that carry this version. */
  entries: number
  isChanged: boolean
  /** Begun, or ended, in the transaction that is open: a ROLLBACK takes that back, and its id or version may be given again. */
  isUnsettled: boolean
}

/** Tags kept in memory; past it all are dropped and read again as they are needed. */
const KNOWN_COUNT_MAX = 1_024
/** Tags looked at in one turn of the search for unused ones. */
const FORGET_COUNT = 64

export class TagTable {
  private readonly byId = new Map<number, Tag>()
  private readonly byName = new Map<string, Tag>()
  private readonly changed: Tag[] = []
  /** Some row of the file carries a tag. */
  private hasTagged = false
  private forgetAt = 0
  /** Of a tag that was begun since somebody last looked. */
  lastAddedId: number | undefined

  /** Learns a file that was opened. */
  open(statements: Statements): void {
    this.reset()
    this.hasTagged = statements.hasTagged.get()![0] === 1
    this.forgetAt = 0
  }

  /** Whether rows that go must be looked at for their tags first. */
  get areUsed(): boolean {
    return this.hasTagged
  }

  /** The versions of tags as they are now, for an entry that is stored; a tag that is new is begun. Inside a transaction. */
  snapshot(statements: Statements, names: readonly string[]): Record<string, number> {
    const versions: Record<string, number> = {}
    for (const name of names) {
      const tag = this.named(statements, name) ?? this.add(statements, name)
      versions[tag.id] = tag.version
    }
    return versions
  }

  /** Whether an entry with this meta is still there, as far as its tags go. */
  isCurrent(statements: Statements, meta: Meta): boolean {
    if (meta.t === undefined) return true
    for (const id in meta.t) {
      if (this.withId(statements, Number(id))?.version !== meta.t[id]) return false
    }
    return true
  }

  /** Hashes of an entry's tags, for tier 1. The entry is current. */
  hashes(statements: Statements, meta: Meta): number[] {
    return Object.keys(meta.t ?? {}).map(id => this.withId(statements, Number(id))!.hash)
  }

  /** Names and versions of an entry's tags, with the version that each has now; for people. */
  explain(statements: Statements, meta: Meta): { tag: string; version: number; now: number }[] {
    return Object.entries(meta.t ?? {}).map(([id, version]) => {
      const tag = this.withId(statements, Number(id))
      return { tag: tag?.name ?? '(forgotten)', version, now: tag?.version ?? -1 }
    })
  }

  /** Notes that a row carries its tags. */
  link(statements: Statements, entry: number, meta: Meta): void {
    for (const id in meta.t) {
      statements.link.run(Number(id), meta.t[id]!, entry)
      this.count(statements, Number(id), meta.t[id]!, 1)
      this.hasTagged = true
    }
  }

  /** Notes that a row with this meta is gone. */
  unlink(statements: Statements, entry: number, metaText: string | null): void {
    const { t } = readMeta(metaText)
    for (const id in t) {
      statements.unlink.run(Number(id), t[id]!, entry)
      this.count(statements, Number(id), t[id]!, -1)
    }
  }

  /** Ends every entry that carries the tag now; undefined when nobody ever used it. Its id, and what it was before. */
  bump(statements: Statements, name: string): Readonly<Tag> | undefined {
    const tag = this.named(statements, name)
    if (tag === undefined) return undefined
    const before = { ...tag }
    tag.version++
    tag.isUnsettled = true
    tag.entries = 0
    this.note(tag)
    return before
  }

  /** The tag with this name, if there is one. */
  named(statements: Statements, name: string): Tag | undefined {
    const known = this.byName.get(name)
    if (known !== undefined) return known
    const row = statements.tagByName.get(name)
    return row === undefined ? undefined : this.keep(row)
  }

  /** Writes what was changed. Before COMMIT. */
  save(statements: Statements): void {
    if (this.changed.length === 0) return
    for (const tag of this.changed) {
      statements.updateTag.run(tag.version, tag.entries, tag.id)
      tag.isChanged = false
      tag.isUnsettled = false
    }
    this.changed.length = 0
    if (this.byId.size > KNOWN_COUNT_MAX) this.reset()
  }

  /** Drops all that is known: the file may say otherwise. */
  reset(): void {
    this.byId.clear()
    this.byName.clear()
    this.changed.length = 0
  }

  /** Looks at some tags, and forgets those that no row carries: to be called now and then, outside of a group and with
   *  nothing kept back. Tells of those that an old version's rows are left of; whether it had anything to do. */
  forgetSome(statements: Statements, isStale: (id: number, version: number) => void): boolean {
    const rows = statements.tagsAfter.all(this.forgetAt, FORGET_COUNT)
    this.forgetAt = rows.length < FORGET_COUNT ? 0 : rows.at(-1)![0]
    let hasWorked = false
    for (const [id, version, isUsed, hasOld] of rows) {
      if (isUsed === 1 && hasOld === 0) continue
      hasWorked = true
      if (hasOld === 1) isStale(id, version - 1)
      else this.forget(statements, id)
    }
    return hasWorked
  }

  private forget(statements: Statements, id: number): void {
    statements.forgetTag.run(id)
    const tag = this.byId.get(id)
    if (tag === undefined) return
    this.byId.delete(id)
    this.byName.delete(tag.name)
  }

  private add(statements: Statements, name: string): Tag {
    const tag = this.keep(statements.addTag.get(name)!)
    tag.isUnsettled = true
    this.note(tag)
    this.lastAddedId = tag.id
    return tag
  }

  private withId(statements: Statements, id: number): Tag | undefined {
    const known = this.byId.get(id)
    if (known !== undefined) return known
    const row = statements.tagById.get(id)
    return row === undefined ? undefined : this.keep(row)
  }

  private keep([id, name, version, entries]: [number, string, number, number]): Tag {
    // Outside of transactions nothing is changed, and all of it can be read again.
    if (this.byId.size >= KNOWN_COUNT_MAX && this.changed.length === 0) this.reset()
    const bytes = Buffer.from(name)
    const hash = hashKey(0, bytes, 0, bytes.length)
    const tag = { id, name, hash, version, entries, isChanged: false, isUnsettled: false }
    this.byId.set(id, tag)
    this.byName.set(name, tag)
    return tag
  }

  private count(statements: Statements, id: number, version: number, by: number): void {
    const tag = this.withId(statements, id)
    if (tag === undefined || tag.version !== version) return
    tag.entries += by
    this.note(tag)
  }

  private note(tag: Tag): void {
    if (tag.isChanged) return
    tag.isChanged = true
    this.changed.push(tag)
  }
}
