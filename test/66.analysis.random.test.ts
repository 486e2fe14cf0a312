/** Random schemas and statements: what the server changes and scans is what the analysis said, or less.
 *  Owns:   one database a round.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { checkAgainstServer, openAnalysis } from './helpers/analysed.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { WireClient } from './helpers/postgres_wire.ts'
import { FULL, Random, randomTest } from './helpers/random.ts'

const TABLES = 8
const ROUNDS = FULL ? 40 : 2
const STATEMENTS_A_ROUND = 40

const ACTIONS = ['no action', 'cascade', 'set null', 'set default']

/** Tables that refer to earlier ones and to themselves; partitions, heirs, views of views, triggers, rules, functions. */
function schema(random: Random): string {
  const parts = [
    'create table audit (line text)',
    `create function note() returns trigger language plpgsql as 'begin insert into audit values (1); return null; end'`,
    `create function keep() returns trigger language plpgsql stable as 'begin return new; end'`,
  ]
  const pick = (...choices: string[]) => choices[random.below(choices.length)]!
  const action = () => pick(...ACTIONS)
  const partitioned = new Set<number>()
  for (let i = 0; i < TABLES; i++) {
    const t = `t${i}`
    const isPartitioned = random.chance(0.25)
    if (isPartitioned) partitioned.add(i)
    const refers = (column: string) => {
      const j = random.below(i + 1)
      const heir = j < i && random.chance(0.3) ? 'a' : ''
      const key = heir !== '' || partitioned.has(j) || random.chance(0.7) ? 'id' : 'k'
      return `foreign key (${column}) references t${j}${heir} (${key}) on delete ${action()} on update ${action()} deferrable initially deferred`
    }
    const columns = `id int primary key, k int${isPartitioned ? '' : ' unique'}, up int, up2 int, v text`
    const keys = ['up', 'up2'].filter(() => random.chance(0.7)).map(refers)
    const end = isPartitioned ? ' partition by range (id)' : ''
    parts.push(`create table ${t} (${[columns, ...keys].join(', ')})${end}`)
    parts.push(
      isPartitioned
        ? `create table ${t}a partition of ${t} for values from (0) to (5); create table ${t}b partition of ${t} default`
        : `create table ${t}a (primary key (id)) inherits (${t}); create view ${t}b as select * from ${t} where v is not null`,
      `insert into ${t} select i, i, i % 5, i % 5, 'v' from generate_series(0, 9) i`,
      `create view w${i} as select id, k, up, v from ${pick(t, `${t}a`, `${t}b`)} where id >= 0`,
      `create function f${i}() returns void begin atomic delete from ${pick(t, `w${i}`)} where id = 3; end`,
    )
    if (!isPartitioned)
      parts.push(`insert into ${t}a select i, i, 1, 1, 'v' from generate_series(0, 4) i`)
    const event = pick('insert', 'update', 'delete', 'insert or delete', 'update of v')
    if (random.chance(0.25))
      parts.push(
        `create trigger n after ${event} on ${t} for each ${pick('row', 'statement')} execute function note()`,
      )
    if (random.chance(0.2))
      parts.push(
        `create trigger k before insert or update on ${t} for each row execute function keep()`,
      )
    if (random.chance(0.1))
      parts.push(`create rule r as on insert to ${t} do also insert into audit values ('r')`)
  }
  return parts.join(';\n')
}

function statement(random: Random): string {
  const pick = (...choices: string[]) => choices[random.below(choices.length)]!
  const i = () => random.below(TABLES)
  const table = () => pick(`t${i()}`, `t${i()}`, `t${i()}a`, `t${i()}b`, `w${i()}`)
  const set = () => pick('id = -id', 'k = -k', `v = 'x'`, 'up = null', 'id = id, k = k')
  const [x, y, n] = [table(), table(), random.below(10)]
  return pick(
    `delete from ${x} where id = ${n}`,
    `delete from ${x} using ${y} where ${x === y ? 'true' : `${x}.id = ${y}.k`}`,
    `update ${x} set ${set()}`,
    `update only ${x} set ${set()} where id > ${n}`,
    `insert into ${x} (id, k, v) select id + 100, k + 100, v from ${y}`,
    `insert into t${i()} (id, k, v) values (${n}, 77, 'y') on conflict (id) do update set ${pick('v = excluded.v', 'k = 78')}`,
    `with d as (delete from ${x} where id < 5 returning id) update ${y} set ${set()} from d where ${y}.id = d.id`,
    `merge into t${i()} x using ${y} y on x.id = y.id when matched and x.id < 3 then delete when matched then update set ${set()} when not matched then do nothing`,
    `select f${i()}()`,
    `select count(*) from ${x} a join ${y} b using (id) where exists (select from ${table()} c where c.k = a.k)`,
    `with recursive r as (select id from ${x} union select r.id + 1 from r join ${y} y on y.id = r.id) select * from r, lateral (select max(k) from ${table()} where id = r.id) m`,
    `select id from ${x} union all select k from ${y} except select k from ${table()}`,
  )
}

const SENTENCE = 'touches no table that its analysis does not name'

randomTest(`a random statement on a random schema ${SENTENCE}`, { timeout: 600_000 }, (random, t) =>
  checkRounds(random, t, ROUNDS),
)

test(`nor does what moves a row out of a partition that others refer to: it ${SENTENCE}`, t =>
  checkRounds(new Random(4491466), t, 2))

async function checkRounds(random: Random, t: TestContext, rounds: number): Promise<void> {
  const postgres = await sharedPostgres()
  let [scans, changes, precise, writes] = [0, 0, 0, 0]
  for (let round = 0; round < rounds; round++) {
    const url = await postgres.createDatabase()
    const admin = await WireClient.open(url)
    await admin.query(schema(random))
    const { see, pool } = openAnalysis(t, url, admin)
    for (let count = 0; count < STATEMENTS_A_ROUND; count++) {
      const sql = statement(random)
      const seen = await see(sql)
      const ran = await checkAgainstServer(sql, seen, admin)
      if (ran === undefined) continue
      // A machine that stands still for a second makes a doubt, which is safe.
      if (seen.refusal?.includes('statement timeout')) continue
      assert.notEqual(seen.side, 'unknown', `${sql}: ${seen.refusal}`)
      scans += ran.scans
      changes += ran.changes
      if (seen.side === 'write') writes++
      if (seen.side === 'write' && seen.writes !== 'everything') precise++
    }
    await Promise.all([pool.close(), admin.close()])
  }
  const told = `${scans} scans, ${changes} changes, ${precise} of ${writes} writes told apart`
  t.diagnostic(told)
  assert.ok(scans > 10 && changes > 10 && precise > writes / 8, told)
}
