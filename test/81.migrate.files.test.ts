/** `hearth migrate` as its users meet it: files, order, checksums, errors with their place, the rehearsal, the way back, drift.
 *  Owns:   one server, a database and a folder for each test.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  the witness is a connection of the tests' own. */

import assert from 'node:assert/strict'
import { readdirSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { loadConfig } from '../engine/config/load.ts'
import { openStand, type Stand } from './helpers/migrate.ts'

const ROOMS = 'create table rooms (id int primary key, name text not null);\n'

interface Step {
  version: string
  name: string
  direction: string
  changes: { kind: string; name: string; change: string }[]
  wayBack?: { path: string; isComplete: boolean; statements: string[]; refusals: string[] }
}

test('new, up, status, down: from nothing to nothing', async t => {
  const stand = await openStand(t)
  const { admin } = stand
  const { path } = await stand.json(0, 'new', 'Add the', 'rooms')
  assert.equal(path, join('migrations', '0001_add_the_rooms.up.sql'))
  stand.write('0001_add_the_rooms.up', ROOMS)
  const { done, refreshed } = await stand.json<{ done: Step[]; refreshed: object }>(0, 'up')
  assert.deepEqual(
    done.map(({ version, name, direction }) => [version, name, direction]),
    [['1', 'add_the_rooms', 'up']],
  )
  assert.deepEqual(Object.keys(refreshed), ['isRefreshed', 'reason'])
  assert.deepEqual(done[0]!.wayBack?.statements, ['drop table public.rooms'])
  assert.match(stand.read('0001_add_the_rooms.down'), /^-- line 1\ndrop table public\.rooms;$/m)
  assert.equal((await stand.run('up')).stdout, 'nothing to do\n')

  const status = await stand.json<{ applied: Record<string, unknown>[]; runs: unknown[] }>(
    0,
    'status',
  )
  const [row] = status.applied
  assert.equal(row!['state'], 'applied')
  assert.match(String(row!['by']), /^postgres \(\S+@\S+\)$/)
  assert(Math.abs(Date.parse(String(row!['appliedAt'])) - Date.now()) < 60_000)
  assert(Number(row!['durationMs']) >= 0)
  assert.match(
    (await stand.run('status')).stdout,
    /^0001_add_the_rooms +applied +2\S+Z .* postgres \(/m,
  )

  const back = await stand.json<{ done: Step[] }>(0, 'down')
  assert.equal(back.done[0]!.direction, 'down')
  assert.equal(await admin.value(`select to_regclass('rooms')`), null)
  const after = await stand.json<{
    applied: unknown[]
    pending: unknown[]
    runs: Record<string, unknown>[]
  }>(0, 'status')
  assert.deepEqual([after.applied.length, after.pending.length], [0, 1])
  assert.deepEqual(
    after.runs.map(run => [run['direction'], run['outcome']]),
    [
      ['down', 'done'],
      ['up', 'done'],
    ],
  )
  assert.equal((await stand.run('down')).stdout, 'nothing to do\n')
})

test('up N and down N take so many; numbers count, not names', async t => {
  const stand = await openStand(t)
  for (const name of ['9_a', '10_b', '011_c', '20261231000000_d'])
    stand.write(`${name}.up`, `create table ${name.at(-1)} ()`)
  assert.equal(
    (await stand.json<{ done: Step[] }>(0, 'up', '2')).done.map(({ name }) => name).join(),
    'a,b',
  )
  assert.equal(
    (await stand.json<{ done: Step[] }>(0, 'up')).done.map(({ name }) => name).join(),
    'c,d',
  )
  assert.equal(
    (await stand.json<{ done: Step[] }>(0, 'down', '3')).done.map(({ name }) => name).join(),
    'd,c,b',
  )
  assert.match(
    String((await stand.json(0, 'new', 'next'))['path']),
    /\/20261231000001_next\.up\.sql$/,
  )
})

/** For what leaves nothing behind: one database, and an empty folder each time. */
let shared: Promise<Stand> | undefined
const endings: (() => Promise<unknown>)[] = []
after(async () => {
  for (const end of endings.reverse()) await end()
})

async function emptyStand(): Promise<Stand> {
  shared ??= openStand({ after: (end: () => Promise<unknown>) => void endings.push(end) })
  const stand = await shared
  for (const file of readdirSync(stand.dir)) unlinkSync(join(stand.dir, file))
  await stand.admin.query('drop schema if exists hearth cascade')
  return stand
}

describe('an error is told with its place', () => {
  const CASES: [what: string, sql: string, place: string, says: RegExp, line: string][] = [
    [
      'in the middle of a line',
      'create table a (id int);\n\n  insert into a (idd) values (1);',
      '3:18',
      /column "idd" of relation "a" does not exist/,
      '  insert into a (idd) values (1);',
    ],
    [
      'behind characters of several bytes',
      `create table a (id int); insert into a select 1 as "é😀", nix;`,
      '1:58',
      /column "nix" does not exist/,
      'nix',
    ],
    [
      'behind a comment',
      '/* a; /* b */ ; */ -- c;\n/* d */ select nix;',
      '2:16',
      /column "nix" does not exist/,
      'select nix',
    ],
    [
      'of syntax',
      'create table a (id int);\nalter tabel a;',
      '2:7',
      /syntax error at or near "tabel"/,
      'alter tabel a;',
    ],
    [
      'where Postgres gives none: at the statement',
      'create table a (id int primary key);\n\tinsert into a values (1), (1);',
      '2:2',
      /duplicate key value/,
      'insert into',
    ],
    [
      'within a function: at the statement that calls it',
      `select 1;\ndo $$ begin\n  perform 1/0;\nend $$;`,
      '2:1',
      /division by zero/,
      'do $$ begin',
    ],
    [
      'that comes with the commit',
      'create table a (id int primary key, b int references a deferrable initially deferred);\ninsert into a values (1, 2);',
      '',
      /0001_wrong\.up\.sql: at its end: .*violates foreign key constraint/,
      '',
    ],
  ]
  for (const [what, sql, place, says, line] of CASES)
    test(what, async () => {
      const stand = await emptyStand()
      stand.write('0001_wrong.up', sql)
      const stderr = (await stand.refusal()) ?? ''
      assert.match(stderr, says)
      if (place !== '') {
        assert(stderr.includes(`/0001_wrong.up.sql:${place}: `), stderr)
        const [shown, caret] = stderr.split('\n').slice(1, 3) as [string, string]
        assert(shown.includes(line), stderr)
        const column = Number(place.split(':')[1])
        assert.equal([...caret].length, [...`${place.split(':')[0]} | `].length + column, stderr)
      }
      assert.equal(await stand.admin.value(`select to_regclass('a')`), null)
      const { rows } = await stand.admin.query(
        `select outcome, error, (select count(*) from hearth.migrations) from hearth.migration_runs`,
      )
      assert.deepEqual([rows.length, rows[0]![0], rows[0]![2]], [1, 'failed', '0'])
      assert.match(rows[0]![1]!, says)
    })
})

describe('is refused, and nothing is run:', () => {
  const CASES: [what: string, files: Record<string, string>, says: RegExp][] = [
    [
      'a file that is named otherwise',
      { '0001_a.up': '', notes: '' },
      /notes\.sql is not named as a migration is/,
    ],
    ['two of one number', { '1_a.up': '', '0001_b.up': '' }, /two migrations of number 1/],
    [
      'a way back without a way',
      { '0001_a.down': '' },
      /0001_a\.down\.sql has no 0001_a\.up\.sql beside it/,
    ],
    [
      'an option that is not known',
      { '0001_a.up': '\n-- hearth: lock_timeout=5s, no-transactoin\nselect 1' },
      /0001_a\.up\.sql:2: found "no-transactoin", expected one of no-transaction/,
    ],
    [
      'COMMIT',
      { '0001_a.up': 'create table a ();\ncommit;' },
      /0001_a\.up\.sql:2:1: a migration is one transaction/,
    ],
    [
      'CONCURRENTLY in a transaction',
      { '0001_a.up': 'create table a (id int);\ncreate index concurrently on a (id)' },
      /:2:1: CREATE INDEX CONCURRENTLY … cannot run in a transaction; write `-- hearth: no-transaction`/,
    ],
    ['VACUUM in a transaction', { '0001_a.up': 'vacuum' }, /cannot run in a transaction/],
    [
      'COPY from the client',
      { '0001_a.up': 'create table a (id int);\ncopy a from stdin;\n' },
      /:2:1: COPY from or to the client/,
    ],
    [
      'no syntax, without a transaction',
      { '0001_a.up': '-- hearth: no-transaction\ncreate table a ();\ncreate tabel b ();' },
      /:3:8: syntax error at or near "tabel"/,
    ],
  ]
  for (const [what, files, says] of CASES)
    test(what, async () => {
      const stand = await emptyStand()
      for (const [name, text] of Object.entries(files)) stand.write(name, text)
      assert.match((await stand.refusal()) ?? '', says)
      assert.equal(await stand.admin.value(`select to_regclass('a')`), null)
    })

  test('a file that was changed after it ran, one that is gone, and one that comes too late', async t => {
    const stand = await openStand(t)
    stand.write('0002_b.up', 'create table b ();\r\ncreate table bb ();')
    stand.write('0003_c.up', 'create table c ()')
    await stand.json(0, 'up')
    // Ends of lines are no change.
    stand.write('0002_b.up', 'create table b ();\ncreate table bb ();')
    await stand.json(0, 'verify')
    stand.write('0002_b.up', 'create table b (id int);')
    unlinkSync(join(stand.dir, '0003_c.up.sql'))
    unlinkSync(join(stand.dir, '0003_c.down.sql'))
    stand.write('0001_a.up', 'create table a ()')
    const refused = await stand.run('up')
    assert.equal(refused.code, 1)
    assert.match(
      refused.stderr,
      /0002_b\.up\.sql is not what was applied \(sha256 [0-9a-f]{12}… then/,
    )
    assert.match(refused.stderr, /0003_c is applied, and migrations has no file of that number/)
    assert.match(refused.stderr, /0001_a is not applied, and 3, which comes after it, is/)
    const { problems } = await stand.json<{ problems: { kind: string }[] }>(1, 'verify')
    assert.deepEqual(
      problems.map(({ kind }) => kind),
      ['changed', 'missing', 'out-of-order'],
    )
    stand.write('0002_b.up', 'create table b ();\ncreate table bb ();')
    stand.write('0003_c.up', 'create table c ()')
    assert.equal((await stand.run('up')).code, 1)
    await stand.json(0, 'up', '--allow-out-of-order')
    // The last one applied, whatever its number.
    assert.equal((await stand.json<{ done: Step[] }>(0, 'down')).done[0]!.name, 'a')
  })
})

test('the defaults are the figures of the documentation', () => {
  const { migrate } = loadConfig({ env: {}, cwd: '/' }).config
  assert.deepEqual(JSON.parse(JSON.stringify(migrate)), {
    lockTimeoutMs: 5_000,
    lockRetries: 3,
    lockRetryPauseMs: 5_000,
    statementTimeoutMs: 3_600_000,
    waitMs: 30_000,
    lint: 'refuse',
    bigTableRows: 100_000,
  })
})

test('usage: exit code 2', async () => {
  const stand = await emptyStand()
  for (const [args, says] of [
    [['sideways'], /migrate does not know 'sideways'/],
    [['new'], /migrate new needs NAME/],
    [['up', 'two'], /found "two", expected how many/],
    [['down', '0'], /found "0", expected how many/],
    [['status', 'now'], /does not take "now"/],
    [['down', '--dry-run'], /--dry-run is of migrate up/],
  ] as const) {
    const { code, stderr } = await stand.run(...args)
    assert.match(stderr, says)
    assert.equal(code, 2)
  }
  const { code, stderr } = await stand.run('up', '--db', 'attic')
  assert.deepEqual(
    [code, /NOT_CONFIGURED: there is no database "attic"; set postgres\.attic\.url/.test(stderr)],
    [1, true],
  )
})

test('a migration may become somebody else; the history is written by whoever began it', async t => {
  const stand = await openStand(t)
  await stand.admin.query(
    'drop role if exists builder; create role builder; grant create on schema public to builder',
  )
  stand.write('0001_rooms.up', `set role builder; ${ROOMS}`)
  stand.write('0002_more.up', 'create table more ()')
  await stand.json(0, 'up')
  const owners = `select string_agg(tableowner, ' ' order by tablename) from pg_tables where schemaname = 'public'`
  assert.equal(await stand.admin.value(owners), 'postgres builder')
  await stand.json(0, 'down', '2')
  await stand.admin.query('drop owned by builder; drop role builder')
})

test('--dry-run tries all of it and leaves nothing: no table, no history, no file', async t => {
  const stand = await openStand(t)
  stand.write('0001_rooms.up', ROOMS)
  stand.write('0002_more.up', 'alter table rooms add column floor int;')
  stand.write(
    '0003_index.up',
    '-- hearth: no-transaction\ncreate index concurrently on rooms (floor);',
  )
  const found = await stand.json<{ tried: Step[]; notTried: { migration: string }[] }>(
    0,
    'up',
    '--dry-run',
  )
  assert.deepEqual(
    found.tried.map(({ name }) => name),
    ['rooms', 'more'],
  )
  assert.deepEqual(found.tried[1]!.wayBack?.statements, [
    'alter table public.rooms drop column floor',
  ])
  assert.deepEqual(
    found.notTried.map(({ migration }) => migration),
    ['0003_index'],
  )
  const { stdout } = await stand.run('up', '--dry-run')
  assert.match(stdout, /\+ column public\.rooms\.floor\n/)
  assert.match(stdout, /0003_index.*: not tried, it has no transaction\ncreate index concurrently/)
  assert.match(stdout, /nothing stands: 2 tried in a transaction that was rolled back/)
  assert.equal(
    await stand.admin.value(
      `select to_regclass('rooms') is null and to_regnamespace('hearth') is null`,
    ),
    't',
  )
  assert.equal(readdirSync(stand.dir).length, 3)
  await stand.admin.query(`create type mood as enum ('good')`)
  stand.write('0002_more.up', 'create table more ()')
  stand.write('0003_index.up', `alter type mood add value 'bad'`)
  stand.write('0004_use.up', `create table moods as select 'bad'::mood as mood`)
  assert.match(
    (await stand.run('up', '--dry-run')).stdout,
    /0004_use.*: not tried, what comes before it must be committed first/,
  )
  stand.write('0002_more.up', 'alter table roms add column floor int;')
  const wrong = await stand.run('up', '--dry-run')
  assert.deepEqual(
    [wrong.code, /0002_more\.up\.sql:1:1: relation "roms" does not exist/.test(wrong.stderr)],
    [1, true],
  )
})

describe('the way back', () => {
  test('that is not complete is written, says why, and is refused until it is edited', async t => {
    const stand = await openStand(t)
    stand.write('0001_rooms.up', `create type mood as enum ('good'); ${ROOMS}`)
    stand.write('0002_drop.up', `alter type mood add value 'bad';\ndrop table rooms;\n`)
    const { done } = await stand.json<{ done: Step[] }>(0, 'up')
    assert.deepEqual(
      done.map(each => each.wayBack?.isComplete),
      [true, false],
    )
    const text = stand.read('0002_drop.down')
    assert.match(
      text,
      /^-- not inverted: line 2: drop table rooms: what was in public\.rooms is gone$/m,
    )
    assert.match(
      text,
      /^-- not inverted: line 1: alter type mood add value: .*cannot take a value out of an enum/m,
    )
    const refused = await stand.run('down', '2')
    assert.equal(refused.code, 1)
    assert.match(
      refused.stderr,
      /0002_drop\.down\.sql does not say how to undo all of it, and nothing is guessed/,
    )
    // All are looked at before one runs.
    assert.equal((await stand.json<{ applied: unknown[] }>(0, 'status')).applied.length, 2)
    stand.write('0002_drop.down', ROOMS)
    await stand.json(0, 'down', '2')
    assert.equal(
      await stand.admin.value(`select to_regclass('rooms') is null and to_regtype('mood') is null`),
      't',
    )
  })

  test('is made anew when its file was generated from another text, and never when a person wrote in it', async t => {
    const stand = await openStand(t)
    stand.write('0001_rooms.up', ROOMS)
    await stand.json(0, 'up')
    await stand.json(0, 'down')
    stand.write('0001_rooms.up', `${ROOMS}create index names on rooms (name);`)
    await stand.json(0, 'up')
    assert.match(stand.read('0001_rooms.down'), /drop index public\.names/)
    await stand.json(0, 'down')
    const own = stand.read('0001_rooms.down').replace('drop index', '-- mine\ndrop index')
    stand.write('0001_rooms.down', own)
    stand.write('0001_rooms.up', ROOMS)
    await stand.json(0, 'up')
    assert.equal(stand.read('0001_rooms.down'), own)
  })

  test('is not made for what says that it is irreversible', async t => {
    const stand = await openStand(t)
    stand.write('0001_rooms.up', `-- hearth: irreversible\n${ROOMS}`)
    await stand.json(0, 'up')
    assert(!stand.has('0001_rooms.down'))
    const { code, stderr } = await stand.run('down')
    assert.deepEqual([code, /says that it is irreversible/.test(stderr)], [1, true])
  })
})

test('verify names every object that somebody else changed, also after another migration', async t => {
  const stand = await openStand(t)
  stand.write(
    '0001_rooms.up',
    `${ROOMS}create view names as select name from rooms; create table gone ();`,
  )
  await stand.json(0, 'up')
  assert.equal((await stand.run('verify')).code, 0)
  await stand.admin.query(`alter table rooms alter name drop not null; create table by_hand (); drop view names;
    grant select on rooms to public`)
  const { drift } = await stand.json<{ drift: { kind: string; name: string; change: string }[] }>(
    1,
    'verify',
  )
  const found = drift
    .filter(({ kind }) => kind !== 'constraint')
    .map(each => `${each.change} ${each.kind} ${each.name}`)
  const expected = [
    'changed column public.rooms.name',
    'added table public.by_hand',
    'changed table public.rooms',
    'removed view public.names',
  ]
  assert.deepEqual(found, expected)
  stand.write(
    '0002_lamps.up',
    'create table lamps (id int); drop table gone; alter table rooms add column floor int;',
  )
  await stand.json(0, 'up')
  const { stdout, code } = await stand.run('verify')
  assert.equal(code, 1)
  assert.match(stdout, /files and history agree: 2 applied, 0 pending\n/)
  assert.match(stdout, /- view public\.names\n?/)
  // What the migration itself did is no drift.
  for (const name of ['lamps', 'gone', 'floor']) assert(!stdout.includes(`${name}\n`), stdout)
})

test('a text that the parser does not know goes to the server whole', async () => {
  const stand = await emptyStand()
  // No release knows this; the server says where.
  stand.write('0001_new.up', 'create table a (id int);\ncreate frob f;')
  assert.match(
    (await stand.refusal()) ?? '',
    /0001_new\.up\.sql:2:8: syntax error at or near "frob"/,
  )
  assert.equal(await stand.admin.value(`select to_regclass('a')`), null)
})

test('settings of one migration are gone in the next, and names are found as the file says', async t => {
  const stand = await openStand(t)
  stand.write(
    '0001_house.up',
    'create schema house; set search_path to house; create table here (id int);',
  )
  stand.write('0002_there.up', 'create table there (id int);')
  await stand.json(0, 'up')
  assert.equal(
    await stand.admin.value(
      `select concat(to_regclass('house.here'), to_regclass('public.there'))`,
    ),
    'house.herethere',
  )
  await stand.json(0, 'down', '2')
})

test('a folder of its own, by --dir and by configuration', async t => {
  const stand = await openStand(t)
  const other = join(stand.folder, 'sql')
  assert.match(
    (await stand.run('up', '--dir', other)).stderr,
    /NOT_CONFIGURED: there is no folder sql; `hearth migrate new NAME` makes it/,
  )
  await stand.json(0, 'new', 'a', '--dir', other)
  assert.deepEqual(readdirSync(other), ['0001_a.up.sql'])
  writeFileSync(join(stand.folder, 'hearth.toml'), '[migrate]\ndir = "sql"\n')
  assert.equal((await stand.json<{ done: Step[] }>(0, 'up')).done[0]!.name, 'a')
})
