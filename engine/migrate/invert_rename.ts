/** invert_rename: what undoes a RENAME.
 *  Owns:   the rules of what can be renamed.   Thread: main of a command.
 *  Holds:  what was renamed is named as the server has it afterwards. */

import type { RenameStmt } from 'libpg-query'
import { type After, refused, type Surroundings, sql } from './inversion.ts'
import { kindText, namesOf } from './lookup.ts'
import type { Node } from './parser.ts'
import { nameText } from './quote.ts'

export async function invertRename(node: RenameStmt, around: Surroundings): Promise<After> {
  if (node.missing_ok) return () => refused('it says IF EXISTS, so it may have done nothing')
  const { renameType = '' } = node
  if (node.relation !== undefined) return await relationRenamed(node, around)
  if (renameType === 'OBJECT_SCHEMA')
    return () => sql(`alter schema ${nameText(node.newname!)} rename to ${nameText(node.subname!)}`)
  const object = node.object
  if (renameType === 'OBJECT_TYPE' || renameType === 'OBJECT_DOMAIN') {
    const names = namesOf(listOf(object))
    return async () => {
      const found = await around.lookup.type([...names.slice(0, -1), node.newname!])
      const what = renameType === 'OBJECT_DOMAIN' ? 'domain' : 'type'
      return found === undefined
        ? refused('the type it renamed cannot be found')
        : sql(`alter ${what} ${found} rename to ${nameText(names.at(-1)!)}`)
    }
  }
  if (renameType === 'OBJECT_DOMCONSTRAINT') {
    const domain = await around.lookup.type(namesOf(listOf(object)))
    return () =>
      domain === undefined
        ? refused('its domain cannot be found')
        : sql(
            `alter domain ${domain} rename constraint ${nameText(node.newname!)} to ${nameText(node.subname!)}`,
          )
  }
  if (FUNCTIONS.has(renameType)) return await functionRenamed(node, around)
  return () => refused('there is no rule for renaming this')
}

/** The relation itself, or something in it. */
async function relationRenamed(node: RenameStmt, { lookup }: Surroundings): Promise<After> {
  const before = await lookup.relation(node.relation)
  if (before === undefined) return () => refused('what it renames cannot be found')
  const { renameType = '', newname, subname } = node
  const inner = INNER[renameType]
  return async () => {
    const now = await lookup.relationOf(before.oid)
    if (now === undefined) return refused('what it renamed cannot be found')
    const kind = node.relationType === 'OBJECT_TYPE' ? 'type' : kindText(now)
    const [is, was] = [nameText(newname!), nameText(subname ?? before.name)]
    if (inner !== undefined)
      return sql(`alter ${kind} ${now.quoted} rename ${inner} ${is} to ${was}`)
    const on = ON[renameType]
    if (on !== undefined) return sql(`alter ${on} ${is} on ${now.quoted} rename to ${was}`)
    return sql(`alter ${kind} ${now.quoted} rename to ${nameText(before.name)}`)
  }
}

async function functionRenamed(node: RenameStmt, { lookup }: Surroundings): Promise<After> {
  const { object } = node
  const named =
    object !== undefined && 'ObjectWithArgs' in object ? namesOf(object.ObjectWithArgs.objname) : []
  const renamed = [...named.slice(0, -1), node.newname!]
  const before = await lookup.functions(renamed)
  return async () => {
    const made = [...(await lookup.functions(renamed)).values()].filter(
      ({ oid }) => !before.has(oid),
    )
    return made.length === 1
      ? sql(`alter ${made[0]!.name} rename to ${nameText(named.at(-1)!)}`)
      : refused('the function it renamed cannot be found')
  }
}

function listOf(node: Node | undefined): readonly Node[] {
  return node !== undefined && 'List' in node ? (node.List.items ?? []) : []
}

const FUNCTIONS = new Set(['OBJECT_FUNCTION', 'OBJECT_PROCEDURE', 'OBJECT_ROUTINE'])
const INNER: Record<string, string> = {
  OBJECT_COLUMN: 'column',
  OBJECT_TABCONSTRAINT: 'constraint',
  OBJECT_ATTRIBUTE: 'attribute',
}
const ON: Record<string, string> = {
  OBJECT_TRIGGER: 'trigger',
  OBJECT_POLICY: 'policy',
  OBJECT_RULE: 'rule',
}
