/** What the server's own analysis says of awkward statements: side, tables, replica, cache.
 *  Owns:   a schema with everything that hides a table or a write.   Thread: main of a test process.
 *  Holds:  each row of STATEMENTS: the sentence, the statement, and what is known of it.
 *  Runs:   beside others, since it mostly waits. */

import assert from 'node:assert/strict'
import { before, describe, type TestContext, test } from 'node:test'
import { checkAgainstServer, openAnalysis } from './helpers/analysed.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { WireClient } from './helpers/postgres_wire.ts'

const SCHEMA =
  `
create table rooms (id int primary key, name text);
create table devices (id int primary key, room int references rooms on delete cascade on update cascade, data jsonb, seen timestamptz);
create table alarms (id int, device int references devices on delete set null, at timestamptz default now());
create table notes (id int, room int references rooms deferrable initially deferred, text text);
create table "Odd ""Name"" é" ("Key" int, "select" text);
create schema other; create table other.rooms (id int, area numeric);
create view named as select id, name from rooms;
create view twice as select n.name, d.data from named n join devices d on d.room = n.id;
create view lucky as select id, random() as luck from rooms;
create view luckier as select * from lucky;
create view lately as select * from devices where seen > now() - interval '1 hour';
create view locked as select * from rooms for update;
create view mine as select id, name from rooms where exists (select from notes where room = rooms.id);
create materialized view totals as select room, count(*) from devices group by room;
create table log (at date, line text) partition by range (at);
create table log_2024 partition of log for values from ('2024-01-01') to ('2025-01-01');
create table log_2025 partition of log for values from ('2025-01-01') to ('2026-01-01') partition by range (at);
create table log_2025_01 partition of log_2025 for values from ('2025-01-01') to ('2025-02-01');
create table thing (id int); create table lamp (watts int, primary key (id)) inherits (thing);
create table bulbs (lamp int references lamp on delete cascade);
create unlogged table scratch (id int);
create sequence numbers;
create table guarded (id int); alter table guarded enable row level security;
create extension postgres_fdw;
create server far foreign data wrapper postgres_fdw; create foreign table remote (id int) server far;
create table mixed (id int) partition by range (id); create foreign table mixed_far partition of mixed default server far;
create function opaque(int) returns int language plpgsql stable as 'begin return (select count(*) from rooms); end';
create function lying(int) returns int language plpgsql immutable as 'begin return (select count(*) from rooms); end';
create function wild(int) returns int language plpgsql as 'begin delete from rooms; return 1; end';
create function clear_sql(int) returns bigint stable begin atomic select count(*) from notes where room = $1; end;
create function clear_write(int) returns void begin atomic delete from notes where room = $1; end;
create function room_label(rooms) returns text stable return (select 'Room ' || $1.name || max(text) from notes);
create function definer(int) returns int language sql stable security definer as 'select id from devices';
create aggregate last_of(int) (sfunc = wild2, stype = int);
`.replace(
    'create aggregate',
    `create function wild2(int, int) returns int language plpgsql as 'begin return $2; end'; create aggregate`,
  ) +
  `
create function is_wild(int, int) returns bool language plpgsql as 'begin return true; end';
create operator <~> (leftarg = int, rightarg = int, function = is_wild);
create domain even as int check (value % 2 = 0);
create function checked_wild(int) returns bool language plpgsql as 'begin return true; end';
create domain wild_even as int check (checked_wild(value));
create table audited (id int, name text); create table audit (line text);
create function note() returns trigger language plpgsql as 'begin insert into audit values (1); return new; end';
create trigger noted after update on audited for each row execute function note();
create table logged (id int); create trigger noted after insert or delete on logged execute function note();
create table kin (id int primary key, up int references kin on delete cascade);
create table kids (kin int references kin on delete cascade);
create trigger noted after delete on kids for each row execute function note();
create table stamped (id int, at timestamptz);
create function stamp() returns trigger language plpgsql stable as 'begin new.at = now(); return new; end';
create trigger stamped before insert or update on stamped for each row execute function stamp();
create table ruled (id int); create rule copied as on insert to ruled do also insert into audit values ('x');
create table defaulted (id int, token int default wild(1)); create table numbered (id serial, name text);
create table evens (id wild_even);
create function jsonb_key(jsonb) returns text immutable return $1 ->> 'key';
create table parts (id int primary key, kind text) partition by range (id);
create table parts_1 partition of parts for values from (0) to (100);
create table part_notes (part int references parts on delete cascade on update set null, text text);
create table moved (id int primary key, kind text) partition by range (id);
create table moved_1 partition of moved for values from (0) to (100); create table moved_2 partition of moved default;
create table move_notes (part int references moved_1 on delete set null, text text);
create view watched as select id, name from rooms;
create function redirect() returns trigger language plpgsql as 'begin delete from notes; return null; end';
create trigger redirected instead of insert on watched for each row execute function redirect();
create table kinds (id uuid default gen_random_uuid(), name text);
`

const READ = { side: 'read', writes: '', replica: true, refusal: undefined } as const
const WRITE = { side: 'write', replica: false, refusal: /^it writes/ } as const
const WILD = { side: 'write', writes: 'everything', replica: false } as const

interface Expected {
  side: string
  reads?: string
  writes?: string
  replica: boolean
  refusal: RegExp | undefined
}

const STATEMENTS: [sentence: string, sql: string, expected: Expected][] = [
  ['a plain select', 'select * from rooms where id = $1', { ...READ, reads: 'rooms' }],
  ['no table at all', 'select 1 + $1::int', { ...READ, reads: '' }],
  ['TABLE', 'table rooms', { ...READ, reads: 'rooms' }],
  ['VALUES', 'values (1), (2)', { ...READ, reads: '' }],
  [
    'brackets and comments first',
    '/* a /* b */ */ (select 1 from rooms) -- c',
    { ...READ, reads: 'rooms' },
  ],
  ['a semicolon, then a comment', 'select * from rooms; -- done', { ...READ, reads: 'rooms' }],
  [
    'dollar quotes with an end in them',
    'select $$; end; delete from rooms$$ from notes',
    { ...READ, reads: 'notes' },
  ],
  ['END in a name', 'select 1 as "end" from rooms', { ...READ, reads: 'rooms' }],
  [
    'quoted names',
    'select "Key" from "Odd ""Name"" é" where "select" = $1',
    { ...READ, reads: '"Odd ""Name"" é"' },
  ],
  [
    'another schema',
    'select * from other.rooms r join rooms using (id)',
    { ...READ, reads: 'other.rooms rooms' },
  ],
  ['a view of a view', 'select * from twice', { ...READ, reads: 'devices rooms' }],
  ['a materialized view, which is a table', 'select * from totals', { ...READ, reads: 'totals' }],
  ['a partitioned table', 'select * from log', { ...READ, reads: 'log' }],
  ['a partition of a partition', 'select * from log_2025_01', { ...READ, reads: 'log' }],
  ['a parent', 'select * from thing', { ...READ, reads: 'thing' }],
  ['an heir', 'select * from only lamp', { ...READ, reads: 'thing' }],
  [
    'a CTE named as a table',
    'with rooms as (select 1 as id) select * from rooms',
    { ...READ, reads: '' },
  ],
  [
    'WITH RECURSIVE',
    'with recursive r as (select id from rooms union all select r.id + 1 from r where id < 9) select * from r',
    { ...READ, reads: 'rooms' },
  ],
  [
    'set operations',
    '(select id from rooms union select id from devices) except select id from notes',
    { ...READ, reads: 'devices notes rooms' },
  ],
  [
    'LATERAL',
    'select * from rooms r, lateral (select max(id) from devices where room = r.id) d',
    { ...READ, reads: 'devices rooms' },
  ],
  [
    'a scalar subquery in ORDER BY',
    'select id from rooms r order by (select count(*) from notes where room = r.id)',
    { ...READ, reads: 'notes rooms' },
  ],
  [
    'windows and grouping sets',
    'select room, count(*), rank() over (order by count(*)) from devices group by grouping sets ((room), ())',
    { ...READ, reads: 'devices' },
  ],
  ['IN with an array', 'select * from rooms where id = any ($1)', { ...READ, reads: 'rooms' }],
  [
    'a cast of a parameter',
    'select $1::text || name from rooms limit $2 offset $3',
    { ...READ, reads: 'rooms' },
  ],
  [
    'json_agg of rows',
    `select json_agg(r), jsonb_build_object('n', count(*)) from rooms r`,
    { ...READ, reads: 'rooms' },
  ],
  [
    'moments by the session’s time zone',
    `select seen::date, date_trunc('day', seen), to_char(seen, 'HH24') from devices where seen > $1 and seen < $2::date`,
    { ...READ, reads: 'devices' },
  ],
  [
    'generate_series',
    `select d, count(id) from generate_series($1::timestamptz, $2, '1 day') d left join devices on seen >= d group by d`,
    { ...READ, reads: 'devices' },
  ],
  [
    'a function whose body is SQL that the server parsed',
    'select clear_sql(1) from rooms',
    { ...READ, reads: 'notes rooms' },
  ],
  [
    'an immutable one of the same kind',
    'select jsonb_key(data) from devices',
    { ...READ, reads: 'devices' },
  ],
  [
    'a function written as an attribute',
    'select r.room_label from rooms r',
    { ...READ, reads: 'notes rooms' },
  ],
  ['who is asking', 'select * from rooms where name = current_user', { ...READ, reads: 'rooms' }],
  [
    'an unlogged table, which no standby has',
    'select * from scratch',
    { ...READ, reads: 'scratch', replica: false },
  ],

  ['now()', 'select now() from rooms', { ...READ, reads: 'rooms', refusal: /what time it is/ }],
  [
    'current_date',
    'select * from devices where seen > current_date',
    { ...READ, refusal: /what time it is/ },
  ],
  [
    'now() in a view',
    'select * from lately',
    { ...READ, reads: 'devices', refusal: /what time it is/ },
  ],
  [
    'age() of one moment, which begins today',
    'select age(seen) from devices',
    { ...READ, refusal: /what time it is/ },
  ],
  ["'today'", `select * from log where at = 'today'`, { ...READ, refusal: /moves/ }],
  [
    'a text made a date',
    'select name::date from rooms',
    { ...READ, refusal: /'now' or 'today' among them/ },
  ],
  [
    'TABLESAMPLE',
    'select * from rooms tablesample bernoulli (10)',
    { ...READ, refusal: /TABLESAMPLE/ },
  ],
  ['system columns', 'select ctid, xmin from rooms', { ...READ, refusal: /system columns/ }],
  [
    'row security',
    'select * from guarded',
    { ...READ, refusal: /row security is on for public\.guarded/ },
  ],
  [
    'a function in PL/pgSQL that says STABLE',
    'select opaque(1)',
    { ...READ, refusal: /the body of public\.opaque\(\) cannot be seen/ },
  ],
  ['one that says IMMUTABLE', 'select lying(1)', { ...READ, refusal: /body of public\.lying/ }],
  [
    'a SECURITY DEFINER in SQL as a text',
    'select definer(1)',
    { ...READ, refusal: /body of public\.definer/ },
  ],
  [
    'table_to_xml, STABLE and a reader',
    `select table_to_xml('rooms', true, true, '')`,
    { ...READ, replica: false, refusal: /table_to_xml\(\) depends on more/ },
  ],
  [
    'random()',
    'select random() from rooms',
    { ...READ, replica: false, refusal: /random\(\) is VOLATILE/ },
  ],
  [
    'random() in a view in a view',
    'select * from luckier',
    { ...READ, reads: 'rooms', replica: false, refusal: /random\(\) is VOLATILE/ },
  ],
  [
    'pg_sleep in a subquery',
    'select * from rooms where (select pg_sleep(0)) is null',
    { ...READ, replica: false, refusal: /pg_sleep\(\) is VOLATILE/ },
  ],
  [
    'an advisory lock',
    'select pg_advisory_xact_lock(1)',
    { ...READ, replica: false, refusal: /VOLATILE/ },
  ],
  [
    'FOR UPDATE',
    'select * from rooms for update',
    { ...READ, reads: 'rooms', replica: false, refusal: /locks the rows/ },
  ],
  [
    'FOR SHARE in a subquery',
    'select * from (select id from rooms for share) r',
    { ...READ, replica: false, refusal: /locks the rows/ },
  ],
  [
    'FOR UPDATE in a view',
    'select * from locked',
    { ...READ, replica: false, refusal: /locks the rows/ },
  ],
  ['pg_catalog', 'select * from pg_class', { ...READ, replica: false, refusal: /system catalog/ }],
  [
    'information_schema',
    'select * from information_schema.tables',
    { ...READ, replica: false, refusal: /system catalog/ },
  ],
  [
    'a foreign table',
    'select * from remote',
    { ...READ, replica: false, refusal: /foreign table/ },
  ],
  [
    'a foreign partition',
    'select * from mixed',
    {
      ...READ,
      reads: 'mixed',
      replica: false,
      refusal: /^public\.mixed_far, a part of what it reads/,
    },
  ],
  [
    'a sequence as a table',
    'select last_value from numbers',
    { ...READ, replica: false, refusal: /is a sequence/ },
  ],
  ['EXPLAIN', 'explain select * from rooms', { ...READ, replica: false, refusal: /EXPLAIN/ }],
  ['SHOW', 'show search_path', { ...READ, replica: false, refusal: /SHOW/ }],

  ['nextval', `select nextval('numbers')`, { ...WRITE, writes: '' }],
  [
    'a writing CTE',
    'with gone as (delete from notes returning room) select r.* from rooms r join gone on r.id = gone.room',
    { ...WRITE, reads: 'notes rooms', writes: 'notes' },
  ],
  [
    'INSERT … SELECT',
    'insert into notes select id, id, name from named',
    { ...WRITE, reads: 'rooms', writes: 'notes' },
  ],
  [
    'INSERT of values alone',
    'insert into rooms values ($1, $2)',
    { ...WRITE, reads: '', writes: 'rooms' },
  ],
  [
    'ON CONFLICT of a column that nothing refers to',
    'insert into rooms values ($1, $2) on conflict (id) do update set name = excluded.name returning *',
    { ...WRITE, writes: 'rooms' },
  ],
  [
    'UPDATE … FROM',
    'update notes set text = d.data::text from devices d where d.room = notes.room',
    { ...WRITE, writes: 'notes' },
  ],
  [
    'UPDATE of a key that cascades',
    'update rooms set id = -id',
    { ...WRITE, writes: 'devices rooms' },
  ],
  [
    'DELETE with cascades on both sides',
    'delete from rooms using notes n where n.room = rooms.id',
    { ...WRITE, reads: 'notes rooms', writes: 'alarms devices rooms' },
  ],
  [
    'MERGE',
    'merge into notes n using rooms r on r.id = n.room when matched then update set text = r.name when not matched then insert values (1, r.id, r.name)',
    { ...WRITE, reads: 'notes rooms', writes: 'notes' },
  ],
  [
    'a partition by its own name',
    `insert into log_2024 values ('2024-05-05', 'x')`,
    { ...WRITE, writes: 'log' },
  ],
  ['the whole of a partitioned table', 'delete from log', { ...WRITE, writes: 'log' }],
  ['an heir that is written', 'insert into lamp values (1, 60)', { ...WRITE, writes: 'thing' }],
  ['a parent whose heir is referred to', 'delete from thing', { ...WRITE, writes: 'bulbs thing' }],
  ['a view that is written', 'update named set name = $1', { ...WRITE, writes: 'devices rooms' }],
  [
    'a view with a subquery that is written',
    'delete from mine',
    { ...WRITE, writes: 'alarms devices notes rooms' },
  ],
  [
    'defaults of the server’s own making',
    'insert into numbered (name) values ($1) returning id',
    { ...WRITE, writes: 'numbered' },
  ],
  ['a random default', 'insert into kinds (name) values ($1)', { ...WRITE, writes: 'kinds' }],
  [
    'a partition that others refer to by the whole',
    'delete from parts_1',
    { ...WRITE, writes: 'part_notes parts' },
  ],
  ['a key of it', 'update parts set id = id + 1', { ...WRITE, writes: 'part_notes parts' }],
  [
    'what moves rows out of a partition that others refer to by its own name',
    'update moved set id = id + 100',
    { ...WRITE, writes: 'move_notes moved' },
  ],
  ['what leaves them there', 'update moved set kind = $1', { ...WRITE, writes: 'moved' }],
  ['what is no key of it', 'update parts_1 set kind = $1', { ...WRITE, writes: 'parts' }],
  [
    'a view whose trigger writes in its place',
    'insert into watched values (1)',
    { ...WILD, refusal: /trigger redirected on public\.watched/ },
  ],
  [
    'a trigger that may only change the row',
    'insert into stamped values (1)',
    { ...WRITE, writes: 'stamped' },
  ],
  [
    'a trigger for another command',
    'insert into audited values (1)',
    { ...WRITE, writes: 'audited' },
  ],
  [
    'a volatile function whose body is known',
    'select clear_write(1)',
    { ...WRITE, writes: 'notes' },
  ],
  [
    'a trigger',
    'update audited set name = $1',
    { ...WILD, refusal: /trigger noted on public\.audited calls public\.note/ },
  ],
  ['a trigger on INSERT', 'insert into logged values (1)', { ...WILD, refusal: /trigger noted/ }],
  ['a trigger on DELETE', 'delete from logged', { ...WILD, refusal: /trigger noted/ }],
  ['but for UPDATE there is none', 'update logged set id = 1', { ...WRITE, writes: 'logged' }],
  ['a trigger behind a cascade', 'delete from kin', { ...WILD, refusal: /noted on public\.kids/ }],
  ['a table that refers to itself', 'update kin set up = id', { ...WRITE, writes: 'kin' }],
  ['a rule', 'insert into ruled values (1)', { ...WILD, refusal: /rule copied on public\.ruled/ }],
  [
    'a volatile function',
    'select wild(1)',
    { ...WILD, refusal: /public\.wild\(\), which is VOLATILE/ },
  ],
  [
    'a volatile function as a default',
    'insert into defaulted (id) values (1)',
    { ...WILD, refusal: /public\.wild\(\)/ },
  ],
  [
    'a volatile function behind an operator',
    'select 1 <~> 2',
    { ...WILD, refusal: /public\.is_wild/ },
  ],
  [
    'a volatile function in an aggregate',
    'select last_of(id) from rooms',
    { ...WILD, refusal: /public\.wild2/ },
  ],
  [
    'a volatile function in the CHECK of a domain',
    'select id::wild_even from rooms',
    { ...WILD, refusal: /checked_wild/ },
  ],
  [
    'the same in a column that is written',
    'insert into evens values (2)',
    { ...WILD, refusal: /checked_wild/ },
  ],
  [
    'set_config',
    `select set_config('search_path', 'other', false)`,
    { ...WILD, refusal: /set_config/ },
  ],
  [
    'a query given as a text',
    `select query_to_xml('select 1', true, true, '')`,
    { ...WILD, refusal: /query_to_xml/ },
  ],
]

const UNKNOWN: [sql: string, doubt: RegExp][] = [
  ['create table x (id int)', /CREATE/],
  ['truncate rooms', /TRUNCATE/],
  ['explain analyze delete from rooms', /EXPLAIN/],
  ['do $$ begin end $$', /DO/],
  ['call something()', /CALL/],
  ['refresh materialized view totals', /REFRESH/],
  ['select * into copied from rooms', /INTO is not allowed/],
  ['select * from absent', /relation "absent" does not exist/],
  ['select syntax error from', /syntax error/],
  ['select 1; end; delete from rooms', /multiple commands/],
  ['select $1::int; delete from rooms', /multiple commands/],
  ['select 1 /* not closed', /unterminated/],
  [
    `select ${Array.from({ length: 101 }, (_, i) => `$${i + 1}::int`).join(' + ')}`,
    /more than 100/,
  ],
]

/** So that joins meet, cascades reach and filters pass something. */
const ROWS = `
insert into rooms select i, 'room ' || i from generate_series(1, 9) i;
insert into devices select i, i, '{}', '2024-02-02' from generate_series(1, 9) i;
insert into alarms select i, i from generate_series(1, 9) i; insert into notes select i, i, 'note' from generate_series(1, 9) i;
insert into log select '2024-01-01'::date + i * 30, 'line' from generate_series(0, 12) i;
insert into thing values (1); insert into lamp values (1, 60); insert into bulbs values (1); insert into scratch values (1); insert into guarded values (1);
insert into audited values (1); insert into parts values (1); insert into part_notes values (1); refresh materialized view totals;
`

let url: string

before(async () => {
  url = await (await sharedPostgres()).createDatabase('analysed')
  const client = await WireClient.open(url)
  await client.query(SCHEMA + ROWS)
  await client.close()
})

async function stand(t: TestContext) {
  const admin = await WireClient.open(url)
  t.after(() => admin.close())
  return { ...openAnalysis(t, url, admin), admin }
}

describe('the analysis of', () => {
  test(`${STATEMENTS.length} awkward statements tells their side, their tables, and why not`, async t => {
    const { see } = await stand(t)
    for (const [sentence, sql, expected] of STATEMENTS) {
      await t.test(sentence, async () => {
        const seen = await see(sql)
        for (const key of ['side', 'reads', 'writes', 'replica'] as const)
          if (expected[key] !== undefined)
            assert.deepEqual(seen[key], expected[key], `${key} of ${sql}: ${JSON.stringify(seen)}`)
        if (expected.refusal === undefined) assert.equal(seen.refusal, undefined, sql)
        else assert.match(seen.refusal ?? '', expected.refusal, sql)
      })
    }
  })

  test('each of them names every table that the server then scans or changes', async t => {
    const { see, admin } = await stand(t)
    let [runs, scans, changes] = [0, 0, 0]
    for (const [, sql] of STATEMENTS) {
      const ran = await checkAgainstServer(sql, await see(sql), admin)
      if (ran === undefined) continue
      runs++
      scans += ran.scans
      changes += ran.changes
    }
    // The others are refused: keys that refer to nothing, 1 as a moment, a foreign server that is not there.
    assert.ok(runs > STATEMENTS.length - 15, `${runs} ran`)
    assert.ok(scans > 20 && changes > 20, `${scans} scans, ${changes} changes`)
  })

  test('a COPY is that of the query which does the same', async t => {
    const { see } = await stand(t)
    const sawOf = async (sql: string) => {
      const { side, reads, writes, refusal } = await see(sql)
      return [side, reads, writes, refusal?.replace(/\W.*/, '')]
    }
    const into = await sawOf('copy notes (id, text) from stdin')
    assert.deepEqual(into, ['write', '', 'notes', 'it'])
    assert.deepEqual((await sawOf('copy audited from stdin'))[2], 'audited')
    assert.deepEqual((await sawOf('copy ruled from stdin'))[2], 'everything')
    const outOf = await sawOf('copy (select * from twice) to stdout')
    assert.deepEqual(outOf, ['read', 'devices rooms', '', 'COPY'])
    assert.deepEqual(await sawOf('copy log to stdout'), ['read', 'log', '', 'COPY'])
    const doubt = ['unknown', '', 'everything', 'what']
    assert.deepEqual(await sawOf('copy notes from stdin where wild(id) = 1'), doubt)
  })

  test('what the server does not analyse is a doubt: the primary, not kept, everything written', async t => {
    const { see, admin } = await stand(t)
    for (const [sql, doubt] of UNKNOWN) {
      const { refusal, ...rest } = await see(sql)
      const nothing = {
        side: 'unknown',
        reads: '',
        writes: 'everything',
        replica: false,
        tables: [],
      }
      assert.deepEqual(rest, nothing, sql)
      assert.match(refusal ?? '', doubt, sql)
    }
    assert.equal(await admin.value('select count(*) from rooms'), '9')
  })
})
