/** Access: what one client may do: the rights of its role, the namespaces and databases it is limited to, its quotas.
 *  Owns:   nothing; an Access is immutable and shared by all clients of a role.   Not here: who has which role (roles.ts), which
 *          arguments of a frame are names (router/permit.ts).
 *  Thread: main.
 *  Holds:  (1) what a role may do at once is one look into its table `stops`, made with the role: it costs the unlimited nothing else.
 *          (2) who is limited to anything has no shared mapping: all of tier 1 could be read there.
 *          (3) a refusal names the role, what was needed, and the line of the configuration that would allow it. */

import { HearthError } from '../errors.ts'
import { RIGHT, type Right } from '../protocol/rights.ts'
import { type FrameSpec, OPS } from '../protocol/spec.ts'

const ALL = 255
/** A bit that every operation of the table has, beside those of RIGHT. */
const LISTED = 256
const READ_ONLY = RIGHT.read | RIGHT.subscribe | RIGHT.sql | RIGHT.figures

/** What the four roles may do, and those that are `like` them. */
export const ROLE_RIGHTS = {
  admin: ALL,
  service: ALL & ~RIGHT.admin,
  'read-only': READ_ONLY,
  none: 0,
} as const

/** By code, the right that a request needs, as a bit, and LISTED; one of which the table does not say is the admin's alone. */
export const NEEDS: Uint16Array = new Uint16Array(256)
for (const { code, on, needs = 'admin' } of Object.values<FrameSpec>(OPS))
  if (on !== 'ring') NEEDS[code] = RIGHT[needs] | LISTED

export type BaseRole = keyof typeof ROLE_RIGHTS

/** Bounds of one user (uid) in a role; Infinity: none. The bytes are of all keys of the role's namespaces. */
export interface Quotas {
  readonly memoryBytes: number
  readonly sqliteBytes: number
  readonly inflight: number
  readonly subscriptions: number
}

export const NO_QUOTAS: Quotas = {
  memoryBytes: Infinity,
  sqliteBytes: Infinity,
  inflight: Infinity,
  subscriptions: Infinity,
}

export interface AccessOptions {
  readonly role: string
  readonly like: BaseRole
  /** Names of namespaces; undefined: every key. */
  readonly namespaces?: readonly string[] | undefined
  /** By name, the Postgres role that statements run as ('': the login's own); undefined: every database, as it is. */
  readonly databases?: ReadonlyMap<string, string> | undefined
  readonly quotas?: Quotas
}

export class Access {
  readonly role: string
  readonly like: BaseRole
  /** Bits of RIGHT that the role has not. */
  readonly denied: number
  /** By the code of an operation: 0 where its frames are taken at once; else they are refused, or looked into before. */
  readonly stops: Uint8Array
  /** Keys, tags, channels and patterns begin with one of these; undefined: with anything. */
  readonly prefixes: readonly string[] | undefined
  readonly databases: ReadonlyMap<string, string> | undefined
  readonly quotas: Quotas
  readonly isAdmin: boolean
  /** Nothing at all: such a client is refused when it says HELLO. */
  readonly isNobody: boolean
  /** Whether tier 1, which has every key and the results of every database, may be mapped. */
  readonly mayMap: boolean
  /** Statements run in transactions that only read. */
  readonly isReadOnly: boolean
  /** Statements go to connections of the role's own, or to some databases only. */
  readonly hasOwnSql: boolean
  readonly hasByteQuota: boolean
  /** The same for the same rights: all but the quotas, as text. */
  readonly rights: string

  constructor(options: AccessOptions) {
    this.role = options.role
    this.like = options.like
    this.denied = ALL & ~ROLE_RIGHTS[options.like]
    this.prefixes = options.namespaces?.map(name => `${name}:`)
    this.databases = options.databases
    this.quotas = options.quotas ?? NO_QUOTAS
    this.isAdmin = (this.denied & RIGHT.admin) === 0
    this.isNobody = options.like === 'none'
    this.isReadOnly = options.like === 'read-only'
    this.mayMap = !this.isNobody && this.prefixes === undefined && options.databases === undefined
    this.hasOwnSql = this.isReadOnly || options.databases !== undefined
    this.hasByteQuota = this.quotas.memoryBytes < Infinity || this.quotas.sqliteBytes < Infinity
    this.rights = JSON.stringify([
      options.role,
      options.like,
      options.namespaces,
      options.databases && [...options.databases],
    ])
    // Who has namespaces may name nothing else, and who has databases sees only the figures of these.
    let looked = this.hasOwnSql ? RIGHT.sql | RIGHT.sqlWrite | RIGHT.figures : 0
    if (this.prefixes !== undefined || this.hasByteQuota) looked = ALL | LISTED
    const stopping = this.denied | looked
    this.stops = Uint8Array.from(NEEDS, needs => ((needs & stopping) === 0 ? 0 : 1))
  }

  /** Whether a key, tag or channel is within the namespaces. */
  covers(name: string): boolean {
    return this.prefixes === undefined || this.prefixes.some(prefix => name.startsWith(prefix))
  }

  /** FORBIDDEN: the operation needs a right that the role has not. */
  refusal(operation: string, right: Right): HearthError {
    const wanted = (Object.keys(ROLE_RIGHTS) as BaseRole[]).findLast(
      role => (ROLE_RIGHTS[role] & RIGHT[right]) !== 0,
    )!
    return new HearthError(
      'FORBIDDEN',
      `${operation} needs the right "${right}", which the role "${this.role}" of this client has not; ` +
        `to allow it, name its user in access.${wanted}.members`,
    )
  }

  /** FORBIDDEN: a name outside the namespaces. It is quoted, since the client gave it. */
  outside(what: string, name: string): HearthError {
    const shown = JSON.stringify(
      name.length > SHOWN_CHARS_MAX ? `${name.slice(0, SHOWN_CHARS_MAX)}…` : name,
    )
    const own = this.prefixes!.map(prefix => `${prefix}*`).join(', ') || 'none'
    return new HearthError(
      'FORBIDDEN',
      `the ${what} ${shown} is outside the namespaces of the role "${this.role}" (${own}); ` +
        `to allow it, add its namespace to access.${this.role}.namespaces`,
    )
  }

  /** FORBIDDEN: a database that the role may not use. */
  otherDatabase(name: string): HearthError {
    const own = [...this.databases!.keys()].join(', ') || 'none'
    return new HearthError(
      'FORBIDDEN',
      `the role "${this.role}" may not use the database ${JSON.stringify(name)} (it may: ${own}); ` +
        `to allow it, add it to access.${this.role}.databases`,
    )
  }

  /** FORBIDDEN: what shows the statements of every database, to a role that has only some. */
  wholeRefusal(operation: string): HearthError {
    return new HearthError(
      'FORBIDDEN',
      `${operation} shows statements of every database, and the role "${this.role}" is limited to some; ` +
        `to allow it, leave access.${this.role}.databases out`,
    )
  }

  /** BUSY: a quota is used up. */
  overQuota(
    quota: 'memory_bytes' | 'sqlite_bytes' | 'inflight' | 'subscriptions',
    most: number,
  ): HearthError {
    return new HearthError(
      'BUSY',
      `the quota access.${this.role}.${quota} (${most}) is used up; try again when there is less, or raise it`,
      { retryAfterMs: QUOTA_RETRY_MS },
    )
  }
}

const SHOWN_CHARS_MAX = 80
const QUOTA_RETRY_MS = 1_000

/** Of the engine's own clients, and of whoever runs it. */
export const ADMIN = new Access({ role: 'admin', like: 'admin' })

/** For who is nobody: says how to become somebody. */
export function nobodyError(uid: number, role: string): HearthError {
  return new HearthError(
    'FORBIDDEN',
    `the user of this process (uid ${uid}) has the role "${role}" here, which may do nothing; ` +
      'to allow it, name it in access.service.members, or add it to the group of the socket',
  )
}
