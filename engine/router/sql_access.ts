/** SqlAccess: statements of roles that have connections of their own: the database's name in a frame, replaced by that of the
 *  connections meant.
 *  Owns:   the mark by which the worker knows such a name: of this run of the engine, and told to nobody else.
 *  Thread: main.
 *  Holds:  (1) a limited client's statement never reaches a database, or a Postgres role, that its role does not have.  (2) a
 *          client cannot write such a name itself: it does not know the mark. */

import type { Access } from '../guard/access.ts'
import { BodyReader, textBytesMax, writeText } from '../protocol/body.ts'
import { OPS } from '../protocol/spec.ts'
import { textsOf } from './key_effects.ts'

const DEFAULT_DATABASE = 'main'
const NAMES_DATABASE: ReadonlySet<number> = new Set(
  [
    OPS.QUERY,
    OPS.QUERY_CACHED,
    OPS.EXPLAIN_CACHE,
    OPS.BEGIN,
    OPS.STREAM,
    OPS.COPY_OUT,
    OPS.COPY_IN,
    OPS.LISTEN,
    OPS.REFRESH,
  ].map(op => op.code),
)

export class SqlAccess {
  readonly mark: string
  private readonly request = new BodyReader()

  constructor(mark: string) {
    this.mark = mark
  }

  names(op: number): boolean {
    return NAMES_DATABASE.has(op)
  }

  /** The body of a frame that names() a database, with the name of the role's own connections in it. Throws FORBIDDEN. */
  bodyFor(access: Access, op: number, bytes: Buffer, start: number, end: number): Buffer {
    const request = this.request.reset(bytes, start, end)
    if (op === OPS.QUERY_CACHED.code) {
      request.ttl()
      for (let i = 0; i < 4; i++) request.uint()
      textsOf(request)
    } else if (op === OPS.STREAM.code) request.uint()
    const nameAt = request.at
    const name = request.text() || DEFAULT_DATABASE
    const own = this.nameFor(access, name)
    const body = Buffer.allocUnsafe(end - start + textBytesMax(own))
    const at = writeText(body, bytes.copy(body, 0, start, nameAt), own)
    return body.subarray(0, at + bytes.copy(body, at, request.at, end))
  }

  /** `main` itself where nothing is different about it for this role. */
  private nameFor(access: Access, name: string): string {
    const postgresRole = access.databases === undefined ? '' : access.databases.get(name)
    if (postgresRole === undefined || name.includes(this.mark)) throw access.otherDatabase(name)
    if (postgresRole === '' && !access.isReadOnly) return name
    return `${name}${this.mark}${heldTo(access, postgresRole)}`
  }

  /** What the connections behind a name are held to, without the mark: another run of the engine has another. Undefined: nothing. */
  heldIn(name: string): string | undefined {
    const at = name.indexOf(this.mark)
    return at < 0 ? undefined : name.slice(at + this.mark.length)
  }

  /** The name of a role's own connections, by what heldIn() said of them in an earlier run; undefined when no role has them now. */
  nameOf(roles: Iterable<Access>, database: string, held: string | undefined): string | undefined {
    if (held === undefined) return database
    for (const access of roles) {
      const postgresRole = access.databases === undefined ? '' : access.databases.get(database)
      if (postgresRole !== undefined && heldTo(access, postgresRole) === held)
        return this.nameFor(access, database)
    }
    return undefined
  }

  /** The configured database behind such a name. */
  databaseOf(name: string): string {
    const at = name.indexOf(this.mark)
    return at < 0 ? name : name.slice(0, at)
  }
}

function heldTo({ isReadOnly }: Access, postgresRole: string): string {
  return `${isReadOnly ? 'r' : 'w'}${postgresRole}`
}
