/** Dev table: what the pretend service saw, by question and by who answered.
 *  Owns:   its rows.   Not here: measuring (dev/pretend_service.ts), drawing (dev_screen.ts).
 *  Thread: main.
 *  Holds:  the same number of lines each time, so that it can be drawn over itself. */

import type { Latencies } from '../dev/latencies.ts'
import { QUESTION_TITLES, type QuestionName } from '../dev/pretend_questions.ts'
import { type PretendService, SOURCES, type Source } from '../dev/pretend_service.ts'
import type { EngineStats } from '../figures.ts'
import { headline } from './stats_headline.ts'
import { type Column, count, duration, share, tableLines } from './table.ts'

const SOURCE_TITLES: Record<Source, string> = {
  memory: 'memory',
  sqlite: 'SQLite',
  postgres: 'Postgres',
}

const COLUMNS: readonly Column[] = [
  { title: 'question' },
  { title: 'asked', align: 'right' },
  { title: 'answered by' },
  { title: 'times', align: 'right' },
  { title: 'share', align: 'right' },
  { title: 'p50', align: 'right' },
  { title: 'p99', align: 'right' },
]

export function answerLines(service: PretendService, stats: EngineStats | undefined): string[] {
  const rows = groupsOf(service).flatMap(([title, bySource]) => groupRows(title, bySource))
  const failed =
    service.failures === 0 ? '' : `${count(service.failures)} failed: ${service.lastFailure}`
  return [
    ...tableLines(COLUMNS, rows),
    `engine: ${stats === undefined ? 'its figures did not come' : headline(stats)}`,
    failed.split('\n')[0]!,
  ]
}

/** The same for --json: durations in milliseconds over the last thousand answers of each kind. */
export function answerFigures(service: PretendService): Record<string, unknown> {
  const figuresOf = (bySource: Record<Source, Latencies>) =>
    Object.fromEntries(
      SOURCES.map(source => {
        const [p50Ms, p99Ms] = bySource[source].percentiles(0.5, 0.99) ?? [null, null]
        return [source, { answers: bySource[source].count, p50Ms, p99Ms }]
      }),
    )
  const { seen, total, failures, lastFailure } = service
  const questions = Object.entries(seen).map(([name, bySource]) => [name, figuresOf(bySource)])
  return {
    total: figuresOf(total),
    questions: Object.fromEntries(questions),
    failures,
    lastFailure,
  }
}

function groupsOf({ seen, total }: PretendService): [string, Record<Source, Latencies>][] {
  const names = Object.keys(seen) as QuestionName[]
  return [
    ...names.map(
      name => [QUESTION_TITLES[name], seen[name]] as [string, (typeof seen)[typeof name]],
    ),
    ['all', total],
  ]
}

function groupRows(title: string, bySource: Record<Source, Latencies>): string[][] {
  const asked = SOURCES.reduce((sum, source) => sum + bySource[source].count, 0)
  return SOURCES.map((source, at) => {
    const latencies = bySource[source]
    const percentiles = latencies.percentiles(0.5, 0.99)
    return [
      at === 0 ? title : '',
      at === 0 ? count(asked) : '',
      SOURCE_TITLES[source],
      count(latencies.count),
      share(latencies.count, asked),
      ...(percentiles?.map(duration) ?? ['-', '-']),
    ]
  })
}
