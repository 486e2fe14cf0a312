/** Pretend questions: what the dashboard of a home asks, over the sample data.
 *  Owns:   keys, lifetimes, SQL, and which question comes next.   Not here: how they are answered (pretend_service.ts).
 *  Thread: any.
 *  Holds:  one answer has one key: the correlation of a and b is that of b and a. */

import type { Hearth } from '../client/index.ts'

export type QuestionName = 'latest' | 'hourly' | 'correlation'

/** One question as it is asked: where its answer is kept, and how to find it. */
export interface Asked {
  readonly question: QuestionName
  readonly key: string
  readonly ttlMs: number
  readonly sql: string
  readonly params: readonly unknown[]
  /** What is cached: the dashboard's own form, not Postgres' rows. */
  answer(rows: Record<string, unknown>[]): unknown
}

export const QUESTION_TITLES: Record<QuestionName, string> = {
  latest: 'latest value by sensor',
  hourly: 'hourly averages of a week',
  correlation: 'correlation of two sensors',
}

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
/** New readings would come every few minutes; a dashboard may lag by seconds. */
const LATEST_TTL_MS = 5_000
/** Of a hundred questions; the rest is correlations. */
const LATEST_SHARE = 20
const HOURLY_SHARE = 65

export class Questions {
  private readonly sensors: readonly string[]
  private readonly lastDayMs: number
  private readonly dayCount: number

  private constructor(sensors: readonly string[], firstDayMs: number, lastDayMs: number) {
    this.sensors = sensors
    this.lastDayMs = lastDayMs
    this.dayCount = Math.max(1, Math.round((lastDayMs - firstDayMs) / DAY_MS))
  }

  /** Learns which sensors there are, and for which days. */
  static async of(hearth: Hearth): Promise<Questions> {
    const { rows } = await hearth.db.query<{ sensor: string; first: string; last: string }>(
      `select sensor, min(at)::date::text as first, max(at)::date::text as last
         from readings group by sensor order by sensor`,
    )
    const days = rows.flatMap(({ first, last }) => [Date.parse(first), Date.parse(last)])
    const sensors = rows.map(({ sensor }) => sensor)
    return new Questions(sensors, Math.min(...days), Math.max(...days))
  }

  /** How many different answers there are. */
  get answerCount(): number {
    const { length } = this.sensors
    return 1 + length * this.dayCount + (length * (length - 1)) / 2
  }

  next(): Asked {
    const lot = Math.random() * 100
    if (lot < LATEST_SHARE) return this.latest()
    if (lot < LATEST_SHARE + HOURLY_SHARE) return this.hourly(this.someSensor(), this.someDay())
    const first = this.someSensor()
    const others = this.sensors.filter(sensor => sensor !== first)
    return this.correlation(first, others[Math.floor(Math.random() * others.length)]!)
  }

  latest(): Asked {
    return {
      question: 'latest',
      key: 'dashboard:latest',
      ttlMs: LATEST_TTL_MS,
      sql: `select sensor, value from unnest($1::text[]) as sensor cross join lateral
              (select value from readings where readings.sensor = sensor.sensor
                order by at desc limit 1) as latest`,
      params: [this.sensors],
      answer: rows => Object.fromEntries(rows.map(({ sensor, value }) => [sensor, value])),
    }
  }

  /** `day` is the last of seven, such as 2016-05-27. */
  hourly(sensor: string, day: string): Asked {
    return {
      question: 'hourly',
      key: `hourly:${sensor}:${day}`,
      ttlMs: HOUR_MS,
      sql: `select to_char(date_trunc('hour', at), 'YYYY-MM-DD HH24:00') as hour,
                   round(avg(value)::numeric, 2)::float8 as average
              from readings
             where sensor = $1 and at >= $2::date - 6 and at < $2::date + 1
             group by 1 order by 1`,
      params: [sensor, day],
      answer: rows => rows,
    }
  }

  correlation(one: string, other: string): Asked {
    const [a, b] = [one, other].sort() as [string, string]
    return {
      question: 'correlation',
      key: `correlation:${a}:${b}`,
      ttlMs: HOUR_MS,
      sql: `select corr(a.value, b.value) as correlation
              from readings a join readings b using (at) where a.sensor = $1 and b.sensor = $2`,
      params: [a, b],
      answer: rows => ({ sensors: [a, b], correlation: rows[0]?.['correlation'] ?? null }),
    }
  }

  private someSensor(): string {
    return this.sensors[skewed(this.sensors.length)]!
  }

  private someDay(): string {
    const dayMs = this.lastDayMs - skewed(this.dayCount) * DAY_MS
    return new Date(dayMs).toISOString().slice(0, 10)
  }
}

/** 0 … count-1, the low ones far more often: people look at some rooms, and at these days, more than at others. */
function skewed(count: number): number {
  return Math.floor(count * Math.random() ** 2)
}
