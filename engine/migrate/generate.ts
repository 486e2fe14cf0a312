/** generate: makes the way back of a script while that one runs, and proves it.
 *  Owns:   what is known of its statements so far.   Not here: the rules (invert.ts), the file (down_file.ts).
 *  Thread: main of a command.
 *  Holds:  (1) a way back is called complete only if it was run, in a part of the transaction that is rolled back, and left the catalog
 *          exactly as it was before.  (2) nothing that it looks up changes anything. */

import { isHearthError } from '../errors.ts'
import { type CatalogObject, changesBetween, takeCatalog } from './catalog.ts'
import type { DirectConnection } from './direct_connection.ts'
import { composeDown, type Generated, type Undone } from './down_file.ts'
import { type After, refused, type Surroundings } from './inversion.ts'
import { invert } from './invert.ts'
import { Lookup } from './lookup.ts'
import { placeAt } from './place.ts'
import type { Script } from './project.ts'

export class Undoing {
  private readonly script: Script
  private readonly around: Surroundings
  private readonly undone: Undone[] = []
  private pending: After = () => refused('nothing ran')

  constructor(connection: DirectConnection, script: Script) {
    this.script = script
    const { isTransaction } = script.header
    this.around = { lookup: new Lookup(connection), created: new Set(), isTransaction }
  }

  /** The statement of this index is about to run. */
  async before(index: number): Promise<void> {
    this.pending = this.script.isOpaque
      ? () => refused('the file was not understood by the parser of this Hearth')
      : await invert(this.script.statements[index]!, this.around)
  }

  /** It has run. */
  async after(index: number): Promise<void> {
    const { sql, start } = this.script.statements[index]!
    const what = sql.slice(0, WORDS_LENGTH).split(/\s+/).slice(0, WORDS).join(' ')
    const { line } = placeAt(this.script.text, start)
    this.undone.push({ line, what, inversion: await this.pending() })
  }

  compose(proof: { isProved: boolean; doubt?: string | undefined }): Generated {
    const { path, checksum, header } = this.script
    const { isTransaction } = header
    return composeDown({ path, checksum, isTransaction }, this.undone, proof)
  }
}

/** Within the transaction of the script, behind its last statement. */
export async function generateDown(
  connection: DirectConnection,
  undoing: Undoing,
  before: readonly CatalogObject[],
): Promise<Generated> {
  const draft = undoing.compose({ isProved: false })
  if (draft.refusals.length > 0) return draft
  const doubt = await tryOut(connection, draft.statements, before)
  return undoing.compose({ isProved: doubt === undefined, doubt })
}

/** What is wrong with it; undefined: it gives back the identical catalog. */
async function tryOut(
  connection: DirectConnection,
  statements: readonly string[],
  before: readonly CatalogObject[],
): Promise<string | undefined> {
  await connection.run('savepoint hearth_proof')
  let doubt: string | undefined
  try {
    for (const statement of statements) await connection.run(statement)
    await connection.run('set constraints all immediate')
    const [first, ...rest] = changesBetween(before, await takeCatalog(connection))
    if (first !== undefined) {
      const more = rest.length === 0 ? '' : ` and ${rest.length} more`
      doubt = `tried, and it leaves the catalog otherwise than it was: ${first.kind} ${first.name} is ${first.change}${more}`
    }
  } catch (error) {
    if (!isHearthError(error) || connection.isLost) throw error
    doubt = `tried, and it failed: ${error.message}`
  }
  await connection.run('rollback to savepoint hearth_proof; release savepoint hearth_proof')
  return doubt
}

const WORDS = 5
const WORDS_LENGTH = 80
