/** Lint: what is dangerous, on what, and when it is not. One statement a case, against tables large and small.
 *  Owns:   one server, one database.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  a table is large because the catalog says so, as it would of a real one: its rows are never made. */

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { DirectConnection } from '../engine/migrate/direct_connection.ts'
import { checksumOf } from '../engine/migrate/files.ts'
import { readHeader } from '../engine/migrate/header.ts'
import { type Finding, factsOf, lint, NO_FACTS } from '../engine/migrate/lint.ts'
import { parseSql } from '../engine/migrate/parser.ts'
import { openStand } from './helpers/migrate.ts'
import { sharedPostgres } from './helpers/postgres.ts'

let connection: DirectConnection

before(async () => {
  const postgres = await sharedPostgres()
  connection = await DirectConnection.open(await postgres.createDatabase(), 'lint')
  await connection.run(`
    create table big (id int primary key, name varchar(10), price numeric(6,2), room int, checked int);
    alter table big add constraint c check (checked is not null);
    create index big_name on big (name);
    create table small (id int primary key);
    create table parts (at int) partition by range (at);
    create table part_1 partition of parts for values from (0) to (9);
    create materialized view seen as select 1 as one;
    create function fixed() returns int immutable language sql as 'select 1';
    create function fickle() returns int language sql as 'select random()::int';
    create type mood as enum ('good');
    update pg_class set reltuples = 5e6, relpages = 50000 where relname in ('big', 'part_1', 'seen');
    update pg_class set reltuples = 20, relpages = 1 where relname = 'small'`)
})
after(() => connection?.close())

async function findings(text: string, isKnown = true): Promise<Finding[]> {
  const { statements } = await parseSql(text)
  assert(statements !== undefined, 'it is no SQL')
  const header = readHeader(text, 'x.up.sql')
  const base = { path: 'x.up.sql', text, checksum: checksumOf(text), header }
  const script = { ...base, statements, isOpaque: false }
  return await lint(script, isKnown ? factsOf(connection) : NO_FACTS, { bigTableRows: 100_000 })
}

describe('on a big table:', () => {
  const CASES: [sql: string, ...found: string[]][] = [
    ['create index on big (room)', 'refused index-not-concurrent'],
    ['create index on parts (at)', 'refused index-not-concurrent'],
    ['-- hearth: no-transaction\ncreate index concurrently on big (room)'],
    ['drop index big_name', 'warning drop-index-not-concurrent'],
    ['reindex table big', 'refused reindex-not-concurrent'],
    ['alter table big alter id type bigint', 'refused table-rewrite'],
    ['alter table big alter name type varchar(20)'],
    ['alter table big alter name type text'],
    ['alter table big alter name type varchar(5)', 'refused table-rewrite'],
    ['alter table big alter price type numeric(8,2)'],
    ['alter table big alter price type numeric(8,3)', 'refused table-rewrite'],
    ['alter table big alter room set not null', 'refused set-not-null'],
    ['alter table big alter checked set not null'],
    ['alter table big add column a int not null', 'warning not-null-without-default'],
    ['alter table big add column a int not null default 1'],
    ['alter table big add column a timestamptz default now()'],
    ['alter table big add column a timestamptz not null default current_timestamp'],
    ['alter table big add column a uuid default gen_random_uuid()', 'refused volatile-default'],
    ['alter table big add column a int default fickle()', 'refused volatile-default'],
    ['alter table big add column a int default fixed()'],
    ['alter table big add column a serial', 'refused volatile-default'],
    ['alter table big add column a int generated always as identity', 'refused volatile-default'],
    [
      'alter table big add column a int generated always as (id * 2) stored',
      'refused volatile-default',
    ],
    ['alter table big add column a int unique', 'refused unique-builds-index'],
    ['alter table big add column a int references small'],
    ['alter table big add foreign key (room) references small', 'refused foreign-key-validates'],
    ['alter table big add foreign key (room) references small not valid'],
    ['alter table big add check (id > 0)', 'refused check-validates'],
    ['alter table big add check (id > 0) not valid'],
    ['alter table big add unique (room)', 'refused unique-builds-index'],
    ['alter table big add constraint u unique using index i'],
    ['alter table big add exclude using gist (room with =)', 'refused exclusion-builds-index'],
    ['alter table big rename to large', 'warning rename-table'],
    ['alter table big rename name to title', 'warning rename-column'],
    ['alter table big drop column name', 'warning drop-column'],
    ['drop table big', 'warning drop-table'],
    ['alter table big set unlogged', 'refused table-rewrite'],
    ['-- hearth: no-transaction\nvacuum full big', 'refused vacuum-full'],
    ['-- hearth: no-transaction\nvacuum big'],
    ['cluster big using big_name', 'refused cluster'],
    ['lock table big', 'warning lock-table'],
    ['refresh materialized view seen', 'refused refresh-not-concurrent'],
    ['update big set room = 1', 'refused many-rows'],
    ['delete from big', 'refused many-rows'],
    ['truncate big', 'warning truncate'],
    [
      'alter table parts attach partition part_2 for values from (9) to (10)',
      'refused attach-partition',
    ],
    [`alter type mood add value 'bad'; insert into t values ('bad')`, 'warning enum-value-used'],
    [`alter type mood add value 'bad'`],
  ]
  for (const [sql, ...expected] of CASES)
    test(`${sql}: ${expected[0] ?? 'nothing'}`, async () => {
      const found = await findings(sql)
      assert.deepEqual(
        found.map(({ level, code }) => `${level} ${code}`),
        expected,
      )
      for (const { danger, safe, place } of found) {
        assert(danger.length > 20 && safe.length > 10)
        assert.equal(place.line, sql.split('\n').length)
      }
    })
})

const INDEX = 'create index on big (room)'

test('is harmless on a small table, on a new one, and where the file allows it, and says so', async () => {
  const levels = async (text: string, isKnown = true) =>
    (await findings(text, isKnown)).map(({ level, why }) => `${level}: ${why ?? ''}`)
  assert.deepEqual(await levels('create index on small (id)'), [
    'harmless: small is small here: about 20 rows',
  ])
  assert.deepEqual(await levels('create table t (id int); create index on t (id)'), [
    'harmless: the table is new',
  ])
  assert.deepEqual(await levels(`-- hearth: allow=index-not-concurrent\n${INDEX}`), [
    'harmless: allowed by the file (allow=index-not-concurrent)',
  ])
  assert.deepEqual(await levels(INDEX), ['refused: big has about 5000000 rows'])
  assert.deepEqual(await levels(INDEX, false), ['warning: '])
})

test('up refuses it with the safe form, --dry-run shows it, warn and allow let it pass', async t => {
  const stand = await openStand(t)
  await stand.admin.query(`create table big (id int primary key, room int);
    update pg_class set reltuples = 5e6, relpages = 50000 where relname = 'big'`)
  stand.write('0001_index.up', INDEX)
  const { code, stderr } = await stand.run('up')
  assert.equal(code, 1)
  assert.match(
    stderr,
    /0001_index\.up\.sql:1:1: refused index-not-concurrent: nobody can write big .*\(big has about 5000000 rows\)/,
  )
  assert.match(
    stderr,
    /safe: in a file of its own with `-- hearth: no-transaction`: create index concurrently/,
  )
  assert.match(
    stderr,
    /nothing was run: a change would stop .*-- hearth: allow=index-not-concurrent/,
  )
  const { findings } = await stand.json<{ findings: Finding[] }>(1, 'up')
  const [found] = findings
  assert.deepEqual(
    [found!.code, found!.level, found!.place],
    ['index-not-concurrent', 'refused', { line: 1, column: 1 }],
  )
  assert.equal(
    await stand.admin.value(`select count(*) from pg_index where indrelid = 'big'::regclass`),
    '1',
  )
  stand.write('0001_index.up', `-- hearth: allow=index-not-concurrent\n${INDEX}`)
  await stand.json(0, 'up')
})
