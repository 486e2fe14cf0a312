/** Roles: which role a peer has, by the credentials the kernel gave.
 *  Owns:   the table from uid and gid to role, made from the configuration and the system's user and group files.
 *  Thread: main; made at start and at each reload, asked once a connection.
 *  Holds:  (1) the engine's own user and root are admin unless they are named otherwise.  (2) a user's name counts before any
 *          group's, and of several groups the one with the least rights.  (3) who matches nothing is nobody.
 *
 *  Names are looked up in /etc/passwd and /etc/group, which is what every Unix has; a user of a directory service (LDAP) is given
 *  by number. */

import { readFileSync, statSync } from 'node:fs'
import { HearthError } from '../errors.ts'
import { Access, ADMIN, type BaseRole, type Quotas, ROLE_RIGHTS } from './access.ts'

/** Who is at the other end; uid -1 where the kernel could not be asked. */
export interface Credentials {
  readonly uid: number
  readonly gid: number
  /** Supplementary groups. */
  readonly groups: readonly number[]
}

/** One table [access.<role>] of the configuration. */
export interface RoleOptions {
  readonly members?: readonly string[] | undefined
  readonly like?: BaseRole | undefined
  readonly namespaces?: readonly string[] | undefined
  readonly databases?: readonly string[] | undefined
  readonly memoryBytes: number
  readonly sqliteBytes: number
  readonly inflight: number
  readonly subscriptions: number
}

/** Of the system: who runs the engine, whose the socket is, and where users and groups are listed. */
export interface Host {
  readonly ownUid: number
  /** The group of the socket's file. */
  readonly socketGid: number
  readonly passwd?: string
  readonly group?: string
}

const SERVICE = new Access({ role: 'service', like: 'service' })
const NOBODY = new Access({ role: 'none', like: 'none' })
/** From the least rights to the most: which of several groups decides. */
const ORDER: readonly BaseRole[] = ['none', 'read-only', 'service', 'admin']

/** Of this process and its socket; the group is the process's own before there is a file. Throws as Roles does. */
export function rolesAt(socket: string, tables: Readonly<Record<string, RoleOptions>>): Roles {
  const socketGid = statSync(socket, { throwIfNoEntry: false })?.gid ?? process.getegid?.() ?? -1
  return new Roles(tables, { ownUid: process.geteuid?.() ?? -1, socketGid })
}

export class Roles {
  private readonly byUid = new Map<number, Access>()
  private readonly byGid = new Map<number, Access>()
  private readonly host: Host
  private readonly service: Access
  private readonly admin: Access
  /** Every role that is configured. */
  readonly all: readonly Access[]

  /** Throws BAD_REQUEST for members and databases that make no sense, or that the system does not know. */
  constructor(tables: Readonly<Record<string, RoleOptions>>, host: Host) {
    this.host = host
    const all = Object.entries(tables).map(([role, table]) => accessOf(role, table))
    this.all = all
    this.service = all.find(({ role }) => role === 'service') ?? SERVICE
    this.admin = all.find(({ role }) => role === 'admin') ?? ADMIN
    const names = new Names(host)
    // The least of them last, so that it stands.
    const ranked = all.toSorted((a, b) => rankOf(b) - rankOf(a))
    for (const access of ranked) {
      for (const member of tables[access.role]!.members ?? []) this.add(access, member, names)
    }
  }

  /** The role of a peer. */
  of({ uid, gid, groups }: Credentials): Access {
    // Without the native binding the kernel cannot be asked: the socket's mode alone decides who may connect.
    if (uid < 0) return this.service
    const own = this.byUid.get(uid)
    if (own !== undefined) return own
    if (uid === 0 || uid === this.host.ownUid) return this.admin
    let found: Access | undefined
    for (const group of [gid, ...groups]) {
      const access = this.byGid.get(group)
      if (access !== undefined && (found === undefined || rankOf(access) < rankOf(found)))
        found = access
    }
    if (found !== undefined) return found
    const isOfSocket = gid === this.host.socketGid || groups.includes(this.host.socketGid)
    return isOfSocket ? this.service : NOBODY
  }

  /** Whether the socket's group may map tier 1: not when any of those who may connect is limited, or nobody. */
  get mayShareWithGroup(): boolean {
    const limited = this.all.filter(access => !access.mayMap)
    const named = [...this.byUid.values(), ...this.byGid.values()]
    return !limited.some(access => access.role === 'service' || named.includes(access))
  }

  private add(access: Access, member: string, names: Names): void {
    const isGroup = /^(gid|group):/.test(member)
    const table = isGroup ? this.byGid : this.byUid
    const id = names.idOf(member, access.role)
    const other = table.get(id)
    if (!isGroup && other !== undefined && other !== access) {
      throw new HearthError(
        'BAD_REQUEST',
        `access.${access.role}.members: ${member} is named in access.${other.role}.members too; a user has one role`,
      )
    }
    table.set(id, access)
  }
}

function rankOf(access: Access): number {
  // A role of one's own is limited in some way: it comes before the one that it is like.
  return ORDER.indexOf(access.like) * 2 + (access.role === access.like ? 1 : 0)
}

function accessOf(role: string, table: RoleOptions): Access {
  const isBuiltIn = Object.hasOwn(ROLE_RIGHTS, role)
  if (!isBuiltIn && table.like === undefined)
    throw new HearthError(
      'BAD_REQUEST',
      `[access.${role}]: there is no such role; the four are ${Object.keys(ROLE_RIGHTS).join(', ')}, ` +
        'and one of your own says which of them it is like (access.' +
        role +
        '.like)',
    )
  if (isBuiltIn && table.like !== undefined && table.like !== role)
    throw new HearthError(
      'BAD_REQUEST',
      `access.${role}.like: the four roles are what they are; give a role of your own another name`,
    )
  const like = isBuiltIn ? (role as BaseRole) : table.like!
  const { memoryBytes, sqliteBytes, inflight, subscriptions } = table
  const quotas: Quotas = { memoryBytes, sqliteBytes, inflight, subscriptions }
  if (like === 'admin' && (table.namespaces ?? table.databases) !== undefined)
    throw new HearthError(
      'BAD_REQUEST',
      `access.${role}: an admin cannot be limited; make it like service`,
    )
  const access = new Access({
    role,
    like,
    namespaces: table.namespaces,
    databases: table.databases === undefined ? undefined : databasesOf(role, table.databases),
    quotas,
  })
  if (access.hasByteQuota && access.prefixes === undefined)
    throw new HearthError(
      'BAD_REQUEST',
      `access.${role}: memory_bytes and sqlite_bytes are counted by namespace; set access.${role}.namespaces too`,
    )
  return access
}

/** `main`, or `main as reader`. */
function databasesOf(role: string, items: readonly string[]): Map<string, string> {
  const found = new Map<string, string>()
  for (const item of items) {
    const match = /^([A-Za-z0-9][A-Za-z0-9_-]*)(?:\s+as\s+(\S.{0,62}))?$/.exec(item.trim())
    if (match === null)
      throw new HearthError(
        'BAD_REQUEST',
        `access.${role}.databases: found ${quoted(item)}, expected a database such as "main", or "main as reader" for a Postgres role`,
      )
    found.set(match[1]!, match[2]?.trim() ?? '')
  }
  return found
}

/** Somebody may have pasted a url where a name belongs. */
function quoted(text: string): string {
  return /^[\w .:$-]{1,64}$/.test(text) ? `"${text}"` : 'a text that is not shown'
}

/** Users and groups of the system, each file read when the first name of its kind is asked for. */
class Names {
  private readonly host: Host
  private users: ReadonlyMap<string, number> | undefined
  private groups: ReadonlyMap<string, number> | undefined

  constructor(host: Host) {
    this.host = host
  }

  /** Of `1001`, `uid:1001`, `alice`, `user:alice`, `gid:44`, `group:video`. */
  idOf(member: string, role: string): number {
    const match = /^(?:(uid|user|gid|group):)?(.+)$/.exec(member.trim())
    const [, kind = 'user', name = ''] = match ?? []
    if (/^\d{1,10}$/.test(name)) return Number(name)
    const isGroup = kind === 'gid' || kind === 'group'
    const id = isGroup ? this.groupNamed(name) : this.userNamed(name)
    if (id !== undefined && kind !== 'uid' && kind !== 'gid') return id
    throw new HearthError(
      'BAD_REQUEST',
      `access.${role}.members: ${quoted(member)} is ${isGroup ? 'no group' : 'no user'} of this system; ` +
        'expected a user\'s name, "uid:1001", "group:video" or "gid:44" (users of a directory service by number)',
    )
  }

  private userNamed(name: string): number | undefined {
    this.users ??= idsIn(this.host.passwd ?? '/etc/passwd')
    return this.users.get(name)
  }

  private groupNamed(name: string): number | undefined {
    this.groups ??= idsIn(this.host.group ?? '/etc/group')
    return this.groups.get(name)
  }
}

/** Both files have the name first and the number third. */
function idsIn(file: string): ReadonlyMap<string, number> {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    return new Map()
  }
  const lines = text.split('\n').map(line => line.split(':'))
  return new Map(
    lines.filter(({ length }) => length > 2).map(([name, , id]) => [name!, Number(id)]),
  )
}
