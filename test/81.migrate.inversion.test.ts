/** What undoes a statement, and what is said of those that nothing undoes: against a real catalog, one statement a migration.
 *  Owns:   one server, one database.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  every way back that is called complete was run and proved by the code under test; here its text is looked at. */

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { takeCatalog } from '../engine/migrate/catalog.ts'
import { DirectConnection } from '../engine/migrate/direct_connection.ts'
import type { Generated } from '../engine/migrate/down_file.ts'
import { runStatement } from '../engine/migrate/execute.ts'
import { checksumOf } from '../engine/migrate/files.ts'
import { generateDown, Undoing } from '../engine/migrate/generate.ts'
import { readHeader } from '../engine/migrate/header.ts'
import { parseSql } from '../engine/migrate/parser.ts'
import type { Script } from '../engine/migrate/project.ts'
import { sharedPostgres } from './helpers/postgres.ts'

let connection: DirectConnection

before(async () => {
  const postgres = await sharedPostgres()
  connection = await DirectConnection.open(await postgres.createDatabase(), 'inversion')
  await connection.run(`
    create schema house;
    create table rooms (id int primary key, name text not null, floor int default 1, code varchar(10) default 'a',
      constraint named check (floor > 0));
    alter table rooms add constraint loose check (floor < 99) not valid;
    create table people (id int generated always as identity primary key, room int references rooms);
    create unique index room_name on rooms (name);
    create type mood as enum ('good', 'bad');
    create view tops as select id, name from rooms where floor > 1;
    create view shared as select 1 as one;
    grant select on shared to public;
    create table open (id int, "the name" text);
    grant select (id), update (id) on open to public;
    grant select ("the name") on open to postgres with grant option;
    create function twice(n int) returns int language sql immutable as 'select n * 2';
    create function noted() returns trigger language plpgsql as 'begin return new; end';
    create trigger note before insert on rooms for each row execute function noted();
    create materialized view counted as select count(*) from rooms;
    create table parts (at int) partition by range (at);
    create table part_1 partition of parts for values from (0) to (9);
    create table part_2 (at int);
    comment on table rooms is 'it''s where people are';
    insert into rooms values (1, 'kitchen')`)
})
after(() => connection?.close())

/** In a transaction that is rolled back. */
async function wayBackOf(text: string): Promise<Generated> {
  const parsed = await parseSql(text)
  assert(parsed.statements !== undefined, 'it is no SQL')
  const header = readHeader(text, 'x.up.sql')
  const script: Script = {
    path: 'x.up.sql',
    text,
    checksum: checksumOf(text),
    header,
    statements: parsed.statements,
    isOpaque: false,
  }
  const undoing = new Undoing(connection, script)
  await connection.run('begin')
  try {
    const catalog = await takeCatalog(connection)
    for (let index = 0; index < script.statements.length; index++) {
      await undoing.before(index)
      await runStatement(connection, script, index)
      await undoing.after(index)
    }
    return await generateDown(connection, undoing, catalog)
  } finally {
    await connection.run('rollback')
  }
}

describe('is undone:', () => {
  const CASES: [up: string, down: string[]][] = [
    ['create table t (id serial primary key, at int unique)', ['drop table public.t']],
    ['create table "T t" as select 1 as one', ['drop table public."T t"']],
    ['select 1 as one into copied', ['drop table public.copied']],
    ['create temp table gone (id int)', []],
    [
      'create table part_3 partition of parts for values from (10) to (20)',
      ['drop table public.part_3'],
    ],
    ['alter table rooms add column size int', ['alter table public.rooms drop column size']],
    [
      'alter table rooms add column "a b" int, add constraint c check ("a b" > 0)',
      ['alter table public.rooms drop constraint c', 'alter table public.rooms drop column "a b"'],
    ],
    ['create index on rooms (floor)', ['drop index public.rooms_floor_idx']],
    [
      'alter table rooms add check (floor > -1)',
      ['alter table public.rooms drop constraint rooms_floor_check'],
    ],
    [
      'alter table rooms add unique (code)',
      ['alter table public.rooms drop constraint rooms_code_key'],
    ],
    [
      'alter table part_2 add primary key (at)',
      [
        'alter table public.part_2 drop constraint part_2_pkey',
        'alter table public.part_2 alter column at drop not null',
      ],
    ],
    [
      'alter table rooms add constraint u unique using index room_name',
      [
        'alter table public.rooms drop constraint u',
        'CREATE UNIQUE INDEX room_name ON public.rooms USING btree (name)',
      ],
    ],
    [
      'alter table rooms drop constraint named',
      ['alter table public.rooms add constraint named CHECK ((floor > 0))'],
    ],
    [
      'alter table rooms validate constraint loose',
      [
        'alter table public.rooms drop constraint loose',
        'alter table public.rooms add constraint loose CHECK ((floor < 99)) NOT VALID',
      ],
    ],
    [
      'alter table rooms alter floor set default 2',
      ['alter table public.rooms alter column floor set default 1'],
    ],
    [
      'alter table rooms alter name set default 2',
      ['alter table public.rooms alter column name drop default'],
    ],
    [
      'alter table rooms alter floor set not null',
      ['alter table public.rooms alter column floor drop not null'],
    ],
    [
      'alter table rooms alter name drop not null',
      ['alter table public.rooms alter column name set not null'],
    ],
    ['alter table rooms alter name set not null', []],
    [
      'alter table rooms alter code type text',
      [
        'alter table public.rooms alter column code drop default',
        'alter table public.rooms alter column code type character varying(10) using code::character varying(10)',
        `alter table public.rooms alter column code set default 'a'::character varying`,
      ],
    ],
    ['alter table rooms rename to chambers', ['alter table public.chambers rename to rooms']],
    [
      'alter table rooms rename floor to storey',
      ['alter table public.rooms rename column storey to floor'],
    ],
    [
      'alter table rooms rename constraint named to n',
      ['alter table public.rooms rename constraint n to named'],
    ],
    ['alter index room_name rename to i', ['alter index public.i rename to room_name']],
    ['alter trigger note on rooms rename to n', ['alter trigger n on public.rooms rename to note']],
    [
      'alter function twice(int) rename to double',
      ['alter function public.double(n integer) rename to twice'],
    ],
    ['alter type mood rename to humour', ['alter type public.humour rename to mood']],
    [
      `alter type mood rename value 'bad' to 'worse'`,
      [`alter type public.mood rename value 'worse' to 'bad'`],
    ],
    ['alter schema house rename to home', ['alter schema home rename to house']],
    ['alter table rooms set schema house', ['alter table house.rooms set schema public']],
    [
      'alter table rooms enable row level security',
      ['alter table public.rooms disable row level security'],
    ],
    [
      'alter table parts attach partition part_2 for values from (20) to (30)',
      ['alter table public.parts detach partition public.part_2'],
    ],
    [
      'alter table parts detach partition part_1',
      ['alter table public.parts attach partition public.part_1 FOR VALUES FROM (0) TO (9)'],
    ],
    ['drop index room_name', ['CREATE UNIQUE INDEX room_name ON public.rooms USING btree (name)']],
    [
      'drop view tops',
      [
        'create view public.tops as\nSELECT id,\n    name\n   FROM public.rooms\n  WHERE (floor > 1)',
      ],
    ],
    [
      'drop trigger note on rooms',
      [
        'CREATE TRIGGER note BEFORE INSERT ON public.rooms FOR EACH ROW EXECUTE FUNCTION public.noted()',
      ],
    ],
    ['drop type mood', [`create type public.mood as enum ('good', 'bad')`]],
    ['create view v as select 1 as one', ['drop view public.v']],
    [
      'create or replace view tops as select id, name from rooms',
      [
        'create or replace view public.tops as\nSELECT id,\n    name\n   FROM public.rooms\n  WHERE (floor > 1)',
      ],
    ],
    [
      'create function f(a int, b text default null) returns int language sql as $$ select 1 $$',
      ['drop function public.f(a integer, b text)'],
    ],
    ['create procedure p() language sql as $$ select 1 $$', ['drop procedure public.p()']],
    [
      'create trigger t after delete on rooms execute function noted()',
      ['drop trigger t on public.rooms'],
    ],
    ['create type pair as (a int, b int)', ['drop type public.pair']],
    ['create domain d as int check (value > 0)', ['drop domain public.d']],
    ['create sequence s', ['drop sequence public.s']],
    ['create schema s', ['drop schema s']],
    ['create policy p on rooms using (true)', ['drop policy p on public.rooms']],
    [
      `comment on table rooms is 'x'`,
      [`comment on table public.rooms is 'it''s where people are'`],
    ],
    ['grant select on rooms to public', ['revoke select on table public.rooms from public']],
    [
      'grant select on open to public', // taken back, it takes the columns' own along
      [
        'revoke select on table public.open from public',
        'grant select (id) on table public.open to public',
        'grant select ("the name") on table public.open to postgres with grant option',
      ],
    ],
    ['revoke insert on rooms from postgres', ['grant insert on table public.rooms to postgres']],
    ['set local search_path to house; create table here (id int)', ['drop table house.here']],
    [
      `create table t (id int); insert into t values (1); alter table t drop column id; create index on rooms (id)`,
      ['drop index public.rooms_id_idx', 'drop table public.t'],
    ],
    ['refresh materialized view counted; analyze', []],
  ]
  for (const [up, down] of CASES)
    test(up, async () => {
      const { statements, refusals, text } = await wayBackOf(up)
      assert.deepEqual(refusals, [])
      assert.deepEqual(statements, down)
      assert.match(text, /gave back the identical catalog/)
    })
})

describe('is never guessed:', () => {
  const CASES: [up: string, why: RegExp][] = [
    ['drop table people', /what was in public\.people is gone/],
    ['alter table rooms drop column code', /what was in the column code is gone/],
    [
      'create table if not exists rooms (id int)',
      /IF NOT EXISTS, so what is there may have been there before/,
    ],
    ['create index if not exists i on rooms (floor)', /IF NOT EXISTS/],
    ['alter table rooms add column if not exists size int', /IF EXISTS or IF NOT EXISTS/],
    ['drop table people cascade', /CASCADE/],
    [
      `alter type mood add value 'fair'`,
      /cannot take a value out of an enum: public\.mood keeps 'fair' for good/,
    ],
    [`update rooms set name = 'x'`, /changes rows, and what they were is gone/],
    [`insert into rooms values (7, 'x')`, /changes rows/],
    ['truncate people', /changes rows/],
    ['do $$ begin create table x (); end $$', /DO block does is not known/],
    ['select twice(1)', /may call functions/],
    ['drop materialized view counted', /what was in public\.counted is gone/],
    ['create schema s create table t (id int)', /what is in the schema along with it/],
    ['alter table rooms set (fillfactor = 50)', /no rule for this ALTER \(SetRelOptions\)/],
    ['grant select, insert on rooms to postgres with grant option', /no rule for such a grant/],
    // The view's privileges do not come back by themselves: the proof finds that.
    [
      'drop view shared',
      /leaves the catalog otherwise than it was: view public\.shared is changed/,
    ],
  ]
  for (const [up, why] of CASES)
    test(up, async () => {
      const { refusals, text } = await wayBackOf(up)
      assert.match(refusals.join('\n'), why)
      assert.match(text, /^-- not inverted: /m)
    })
})
