/** index_advice: which indexes are missing, with proof, and which are too many.
 *  Owns:   nothing.   Not here: what a plan asks for (candidates.ts), the proof itself (the postgres worker's proof.ts).
 *  Thread: the client's.
 *  Holds:  (1) what was tried and does not lower the cost is not suggested.  (2) what was not tried says so.  (3) of two that serve
 *          the same statement, the one that serves it well enough with less is suggested. */

import type { Database } from '../database.ts'
import type { Insight, StatementFigures } from '../insight.ts'
import { type Candidate, candidatesOf, definitionOf, serves } from './candidates.ts'
import { type Catalog, type Index, readCatalog, type Table } from './catalog.ts'
import { genericPlan } from './generic_plan.ts'
import { rootOf } from './plan.ts'
import { type SurplusIndex, surplusOf } from './surplus.ts'

export interface IndexAdviceOptions {
  readonly database?: string
  /** Also without hypopg the server is to say what an index would do: on a copy of the table, in a transaction that is rolled back. */
  readonly prove?: boolean
  /** Of one copy; of a larger table a part is copied. Default 64 MiB. */
  readonly maxCopyBytes?: number
  /** How many statements are looked at, those that took longest first. Default 100. */
  readonly statements?: number
}

export interface MissingIndex {
  readonly table: string
  readonly statement: string
  readonly reason: string
  /** How the costs are known. An estimate is not proven. */
  readonly proof: 'hypopg' | 'copy' | 'estimate'
  /** Of the copy: how much of the table it had, 0 to 1. */
  readonly share: number
  /** The planner's costs of the statement that gains most. */
  readonly costBefore: number
  readonly costAfter: number
  /** Null: not known before it is tried. */
  readonly indexBytes: number | null
  /** Writes to the table since the server counts: each of them would keep the index up, too. */
  readonly writes: number
  readonly helps: readonly { fingerprint: string; text: string; calls: number; totalMs: number }[]
}

export interface IndexAdvice {
  readonly missing: readonly MissingIndex[]
  readonly surplus: readonly SurplusIndex[]
  /** Statements whose plans were looked at, and those of which none was to be had. */
  readonly looked: number
  readonly skipped: readonly { fingerprint: string; text: string; problem: string }[]
  readonly countedSince: string | null
}

const STATEMENT_COUNT = 100
const COPY_BYTES = 64 * 1024 * 1024
const MEAN_MS_MIN = 0.3
const PROOF_COUNT_MAX = 40
/** What an index leaves of a cost at the most, to be worth its upkeep. */
const GAIN_MAX = 0.6
/** An index that comes as near as this to the best, and is smaller, is the better one. */
const NEAR = 1.5

const READS = /^(select|with|values|table)\b/
/** Of Postgres' own tables nobody makes indexes. */
const OF_CATALOG = /\b(pg_catalog|information_schema|pg_class|pg_stat_\w+)\b/

interface Wanted {
  candidate: Candidate
  readonly helps: StatementFigures[]
  /** Stands for the statement where there is none. */
  readonly sql?: string
}

export async function indexAdvice(
  insight: Insight,
  db: Database,
  options: IndexAdviceOptions,
): Promise<IndexAdvice> {
  const database = options.database ?? 'main'
  const catalog = await readCatalog(db)
  const all = await insight.statements({ database })
  const meant = all
    .filter(
      ({ text, meanMs }) => READS.test(text) && !OF_CATALOG.test(text) && meanMs >= MEAN_MS_MIN,
    )
    .slice(0, options.statements ?? STATEMENT_COUNT)
  const wanted = new Map<string, Wanted>()
  const skipped: { fingerprint: string; text: string; problem: string }[] = []
  for (const figures of meant) {
    const { plan, problem } = await planOf(insight, db, figures)
    const root = rootOf(plan)
    if (root === undefined) {
      const { fingerprint, text } = figures
      skipped.push({ fingerprint, text, problem: problem ?? 'no plan' })
      continue
    }
    for (const candidate of candidatesOf(root, catalog)) add(wanted, candidate, figures)
  }
  for (const table of catalog.tables)
    for (const each of unservedKeys(table)) add(wanted, each.candidate, undefined, each.sql)
  const found = await judged(insight, catalog, [...wanted.values()], options)
  return {
    missing: chosen(found).map(shown),
    surplus: surplusOf(catalog),
    looked: meant.length - skipped.length,
    skipped,
    countedSince: catalog.countedSince,
  }
}

async function planOf(
  insight: Insight,
  db: Database,
  { database, fingerprint, text }: StatementFigures,
) {
  const found = await insight.plan(database, fingerprint)
  if (found.plan !== undefined) return found
  const plan = await genericPlan(db, text)
  return plan === undefined ? found : { plan, problem: undefined }
}

function add(
  wanted: Map<string, Wanted>,
  candidate: Candidate,
  figures: StatementFigures | undefined,
  sql?: string,
): void {
  const key = `${candidate.table.id} ${definitionOf(candidate)}`
  const known = wanted.get(key)
  if (known === undefined) {
    const helps = figures === undefined ? [] : [figures]
    wanted.set(key, { candidate, helps, ...(sql === undefined ? {} : { sql }) })
  } else if (figures !== undefined) {
    known.helps.push(figures)
    if (candidate.planCost > known.candidate.planCost) known.candidate = candidate
  }
}

/** Foreign keys by which deletes in the other table look for rows, each time through the whole of this one. */
function unservedKeys(table: Table): { candidate: Candidate; sql: string }[] {
  if (table.rows < 2_000) return []
  return table.foreignKeys
    .filter(({ parentDeletes }) => parentDeletes > 0)
    .map(({ columns, parent }) => {
      const names = columns.map(name => `"${name.replaceAll('"', '""')}"`)
      const equal = names.map(
        name => `${name} = (select ${name} from ${table.quoted} where ${name} is not null limit 1)`,
      )
      const cost = table.bytes / 8192 + table.rows * 0.0125
      const candidate: Candidate = {
        table,
        keys: columns,
        classes: new Map(),
        predicate: undefined,
        reason: `foreign key: each delete from ${parent} looks here`,
        cost,
        planCost: cost,
        rows: 10,
      }
      return { candidate, sql: `select 1 from ${table.quoted} where ${equal.join(' and ')}` }
    })
    .filter(({ candidate }) => !table.indexes.some(index => serves(index, candidate)))
}

interface Judged extends Wanted {
  readonly proof: MissingIndex['proof']
  readonly share: number
  readonly costBefore: number
  readonly costAfter: number
  readonly indexBytes: number | null
}

async function judged(
  insight: Insight,
  catalog: Catalog,
  wanted: readonly Wanted[],
  { database = 'main', prove = false, maxCopyBytes = COPY_BYTES }: IndexAdviceOptions,
): Promise<Judged[]> {
  const found: Judged[] = []
  const order = wanted.toSorted((a, b) => b.candidate.planCost - a.candidate.planCost)
  for (const each of order.slice(0, PROOF_COUNT_MAX)) {
    const { table, planCost, cost, rows } = each.candidate
    const statement = each.helps.toSorted((a, b) => b.totalMs - a.totalMs)[0]
    const proof =
      catalog.hasHypopg || prove
        ? await insight.proof(database, {
            fingerprint: statement?.fingerprint ?? '',
            ...(each.sql === undefined ? {} : { sql: each.sql }),
            schema: table.schema,
            table: table.name,
            definition: definitionOf(each.candidate),
            bytesMax: maxCopyBytes,
            tableBytes: table.bytes,
            isHypothetical: catalog.hasHypopg,
          })
        : undefined
    if (proof !== undefined && proof.problem === undefined) {
      const { costBefore = 0, costAfter = 0, isUsed, indexBytes = null, share = 1 } = proof
      if (isUsed !== true || costAfter > costBefore * GAIN_MAX) continue
      const way = catalog.hasHypopg ? 'hypopg' : 'copy'
      found.push({ ...each, proof: way, share, costBefore, costAfter, indexBytes })
    } else {
      const after = planCost - cost + Math.min(cost, 10 + rows * 4)
      if (after > planCost * GAIN_MAX) continue
      found.push({
        ...each,
        proof: 'estimate',
        share: 1,
        costBefore: planCost,
        costAfter: after,
        indexBytes: null,
      })
    }
  }
  return found
}

/** Those that are needed: each statement by the one that serves it best, and no index beside one that does the same. */
function chosen(found: readonly Judged[]): Judged[] {
  const best = new Set<Judged>()
  for (const each of found) {
    if (each.helps.length === 0) best.add(each)
    for (const figures of each.helps) {
      const rivals = found.filter(
        other => other.candidate.table === each.candidate.table && other.helps.includes(figures),
      )
      best.add(bestOf(rivals))
    }
  }
  return [...best].filter(
    each => ![...best].some(other => other !== each && doesTheSame(other, each)),
  )
}

function bestOf(rivals: readonly Judged[]): Judged {
  const least = Math.min(...rivals.map(({ costAfter }) => costAfter))
  const near = rivals.filter(({ costAfter }) => costAfter <= least * NEAR + 1)
  return near.toSorted(
    (a, b) =>
      (a.indexBytes ?? sizeOf(a)) - (b.indexBytes ?? sizeOf(b)) || a.costAfter - b.costAfter,
  )[0]!
}

/** To compare those of the same table before they are measured. */
function sizeOf({ candidate: { keys, predicate } }: Judged): number {
  return keys.length * (predicate === undefined ? 10 : 1)
}

function doesTheSame(other: Judged, each: Judged): boolean {
  if (other.candidate.table !== each.candidate.table) return false
  const { keys, classes, predicate } = other.candidate
  const asIndex = {
    keys,
    classes: keys.map(key => classes.get(key)),
    predicate: predicate ?? null,
    isValid: true,
    method: 'btree',
  } as unknown as Index
  return serves(asIndex, each.candidate) && keys.length > each.candidate.keys.length
}

function shown(judged: Judged): MissingIndex {
  const { candidate, helps, proof, share, costBefore, costAfter, indexBytes } = judged
  const { table, reason } = candidate
  return {
    table: table.quoted,
    statement: `create index concurrently on ${table.quoted} ${definitionOf(candidate)}`,
    reason,
    proof,
    share,
    costBefore,
    costAfter,
    indexBytes,
    writes: table.writes,
    helps: helps.map(({ fingerprint, text, calls, totalMs }) => ({
      fingerprint,
      text,
      calls,
      totalMs,
    })),
  }
}
