/** insight: statements, the slow log, N+1, indexes, plans and cache advice, as people read them.
 *  Owns:   the words.   Not here: what is found (client/insight.ts).   Thread: main.
 *  Holds:  one line of text an entry, whatever its statement holds; --json has it whole. */

import type { Hearth, IndexAdvice, MissingIndex } from '../../client/index.ts'
import { sizeBytes } from '../../config/units.ts'
import { withEngine } from '../client.ts'
import type { Input } from '../input.ts'
import { planLines } from '../insight_plan.ts'
import { print, printJson, styled } from '../output.ts'
import { bytes, type Column, count, duration, share, tableLines } from '../table.ts'
import { closest, UsageError } from '../usage_error.ts'
import { oneLine } from '../values.ts'

type Show = (hearth: Hearth, input: Input, limit: number) => Promise<unknown>

const ACTIONS: Record<string, Show> = {
  statements: showStatements,
  slow: showSlow,
  'n+1': showNPlusOne,
  indexes: showIndexes,
  plans: showPlans,
  cache: showCache,
}
const LIMIT = 20
const TEXT_CHARS = 100

export async function run(input: Input): Promise<number> {
  const [word] = input.operands as [string]
  const action = Object.hasOwn(ACTIONS, word) ? ACTIONS[word] : undefined
  if (action === undefined) {
    const near = closest(word, Object.keys(ACTIONS))
    const hint = near === undefined ? Object.keys(ACTIONS).join(', ') : `'${near}'?`
    throw new UsageError(`insight does not know '${word}'; did you mean ${hint}`, 'insight')
  }
  const limit = limitOf(input)
  await withEngine(input, async hearth => {
    const found = await action(hearth, input, limit)
    if (input.isJson) printJson(found)
  })
  return 0
}

function limitOf({ options }: Input): number {
  const text = options['limit'] ?? String(LIMIT)
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new UsageError(`--limit: found ${JSON.stringify(text)}, expected a number`, 'insight')
}

function choiceOf({ options }: Input): { database?: string } {
  const { db } = options
  return db === undefined ? {} : { database: db }
}

const RIGHT = { align: 'right' } as const
const titles = (...names: string[]): Column[] =>
  names.map(name => (name.endsWith('>') ? { title: name.slice(0, -1), ...RIGHT } : { title: name }))

async function showStatements(hearth: Hearth, input: Input, limit: number) {
  const found = (await hearth.insight.statements(choiceOf(input))).slice(0, limit)
  if (input.isJson) return found
  const all = found.reduce((sum, { totalMs }) => sum + totalMs, 0)
  table(
    titles('time>', 'calls>', 'mean>', 'p95>', 'p99>', 'rows>', 'cached>', 'caller', 'statement'),
    found.map(each => {
      const { memory, sqlite, inPlace, stale, shared, misses } = each.cache
      const cached = memory + sqlite + inPlace + stale + shared
      return [
        share(each.totalMs, all),
        count(each.calls),
        duration(each.meanMs),
        duration(each.p95Ms),
        duration(each.p99Ms),
        count(each.rows),
        cached + misses === 0 ? '' : share(cached, cached + misses),
        oneLine(each.callers[0]?.name ?? ''),
        short(each.text),
      ]
    }),
    'no statement has run yet',
  )
}

async function showSlow(hearth: Hearth, input: Input, limit: number) {
  const found = (await hearth.insight.slow(choiceOf(input))).slice(0, limit)
  if (input.isJson) return found
  table(
    titles('at', 'took>', 'rows>', 'caller', 'parameters', 'statement'),
    found.map(({ atMs, tookMs, rows, caller, params, failure, text }) => [
      new Date(atMs).toISOString().slice(0, 19).replace('T', ' '),
      duration(tookMs),
      failure ?? (rows === null ? '' : count(rows)),
      oneLine(caller),
      oneLine(params.join(', ')),
      short(text),
    ]),
    'no statement was slow',
  )
}

async function showNPlusOne(hearth: Hearth, input: Input, limit: number) {
  const found = (await hearth.insight.nPlusOne(choiceOf(input))).slice(0, limit)
  if (input.isJson) return found
  if (found.length === 0) print('nobody has asked the same ten times within a second')
  for (const { caller, times, longest, text, parent, suggestion, meanMs } of found) {
    const cost = duration(longest * meanMs)
    print(
      styled(
        'bold',
        `${oneLine(caller)}: up to ${count(longest)} calls in a row (${cost}), ${count(times)} times`,
      ),
    )
    print(`  asked    ${oneLine(text)}`)
    if (parent !== null) print(`  after    ${oneLine(parent.text)} (${count(parent.rows)} rows)`)
    if (suggestion.text !== undefined)
      print(`  instead  ${styled('green', oneLine(suggestion.text))}`)
    if (suggestion.note !== undefined) print(`  note     ${suggestion.note}`)
    print('')
  }
}

async function showIndexes(hearth: Hearth, input: Input, limit: number) {
  const text = input.options['max-copy'] ?? '64MiB'
  const maxCopyBytes = sizeBytes(text)
  if (maxCopyBytes === undefined)
    throw new UsageError(
      `--max-copy: found ${JSON.stringify(text)}, expected a size such as 64MiB`,
      'insight',
    )
  const prove = input.switches.has('prove')
  const found = await hearth.insight.indexes({ ...choiceOf(input), prove, maxCopyBytes })
  if (input.isJson) return found
  for (const each of found.missing.slice(0, limit)) print(`${missingLines(each).join('\n')}\n`)
  for (const {
    kind,
    table: on,
    index,
    bytes: size,
    writes,
    servedBy,
    statement,
  } of found.surplus) {
    const why = servedBy === undefined ? 'nobody has used it' : `${servedBy} does the same`
    print(styled('yellow', `${kind}: ${index} on ${on}: ${why}`))
    print(`  ${bytes(size)}, kept up by ${count(writes)} writes so far\n  ${statement};\n`)
  }
  print(closing(found))
}

function missingLines(each: MissingIndex): string[] {
  const { costBefore, costAfter, proof, indexBytes, writes, helps, share: part } = each
  const copied = part < 1 ? ` of ${Math.round(part * 100)} % of the table` : ''
  const known =
    proof === 'estimate'
      ? 'not proven: an estimate; --prove tries it on a copy'
      : proof === 'copy'
        ? `proven on a copy${copied}`
        : 'proven with hypopg'
  const size = indexBytes === null ? 'size not known' : bytes(indexBytes)
  return [
    styled('green', `${each.statement};`),
    `  ${each.reason}; cost ${Math.round(costBefore)} → ${Math.round(costAfter)} (${known})`,
    `  ${size}; ${count(writes)} writes to the table so far would each keep it up, too`,
    ...helps
      .slice(0, 3)
      .map(
        ({ text, calls, totalMs }) =>
          `  helps ${count(calls)} calls (${duration(totalMs)}): ${short(text)}`,
      ),
  ]
}

function closing({ missing, surplus, looked, skipped, countedSince }: IndexAdvice): string {
  const found = `${missing.length} missing, ${surplus.length} too many; the plans of ${looked} statements were looked at`
  const left = skipped.length === 0 ? '' : `, of ${skipped.length} none was to be had`
  const since = countedSince === null ? '' : `; indexes are counted since ${countedSince}`
  return styled('dim', found + left + since)
}

async function showPlans(hearth: Hearth, input: Input, limit: number) {
  const found = (await hearth.insight.plans(choiceOf(input))).slice(-limit)
  if (input.isJson) return found
  if (found.length === 0) print('no plan was asked for: no read was slow')
  for (const { text, tookMs, plan, problem, isRun } of found) {
    print(styled('bold', `${duration(tookMs)}  ${oneLine(text)}`))
    const lines = plan === undefined ? [`no plan: ${problem}`] : planLines(plan)
    print(
      `${lines.map(line => `  ${line}`).join('\n')}\n${isRun ? '' : "  (the planner's numbers)\n"}`,
    )
  }
}

async function showCache(hearth: Hearth, input: Input, limit: number) {
  const found = (await hearth.insight.cache(choiceOf(input))).slice(0, limit)
  if (input.isJson) return found
  table(
    titles('saves/h>', 'calls/h>', 'unchanged>', 'hits>', 'cached so far>', 'ttl>', 'statement'),
    found.map(each => [
      duration(each.savedMsPerHour),
      count(Math.round(each.callsPerHour)),
      share(each.unchangedShare, 1),
      share(each.expectedHitRate, 1),
      count(each.cached),
      duration(each.ttlMs),
      short(each.text),
    ]),
    'nothing would gain by the cache, as far as is known',
  )
}

function table(columns: Column[], rows: string[][], none: string): void {
  if (rows.length === 0) return print(none)
  const [title, ...lines] = tableLines(columns, rows)
  print([styled('bold', title!), ...lines].join('\n'))
}

function short(text: string): string {
  const line = oneLine(text)
  return line.length <= TEXT_CHARS ? line : `${line.slice(0, TEXT_CHARS - 1)}…`
}
