/** A schema with planted problems, one each, and the same schema without them; and the questions that are asked of it.
 *  Owns:   nothing: texts.   Thread: any.
 *  Holds:  the questions are the same for both, but for the statistics nothing is random. */

/** Each planted problem: what heals it or what is to be named, and the index that the healthy schema has instead. */
export const PROBLEMS = {
  'a filter without an index': {
    wanted: 'create index concurrently on public.readings (device)',
    heal: 'create index on readings (device)',
  },
  'a foreign key without an index': {
    wanted: 'create index concurrently on public.alerts (rule)',
    heal: 'create index on alerts (rule)',
  },
  'an order without an index': {
    wanted: 'create index concurrently on public.events (happened)',
    heal: 'create index on events (happened)',
  },
  'two columns that narrow only together': {
    wanted: 'create index concurrently on public.visits (room, person)',
    orWanted: 'create index concurrently on public.visits (person, room)',
    heal: 'create index on visits (room, person)',
  },
  'columns in the wrong order': {
    wanted: 'create index concurrently on public.bills (customer, issued)',
    heal: 'create index on bills (customer, issued)',
  },
  'a few rows of a kind': {
    wanted: 'create index concurrently on public.jobs (id) where finished is null',
    orWanted: 'create index concurrently on public.jobs (finished) where finished is null',
    heal: 'create index on jobs (finished) where finished is null',
  },
  'an expression': {
    wanted: 'create index concurrently on public.people (lower(email))',
    heal: 'create index on people (lower(email))',
  },
  'the beginning of a text': {
    wanted: 'create index concurrently on public.books (title text_pattern_ops)',
    heal: 'create index on books (title text_pattern_ops)',
  },
  'a join to a table without an index': {
    wanted: 'create index concurrently on public.order_lines (order_id)',
    heal: 'create index on order_lines (order_id)',
  },
  'an index twice': { wanted: 'drop index concurrently public.meters_serial_again', heal: '' },
  'the beginning of another index': {
    wanted: 'drop index concurrently public.meters_room',
    heal: '',
  },
  'an index that nobody uses': { wanted: 'drop index concurrently public.meters_colour', heal: '' },
} as const

const ROWS = 20_000

export const TABLES = `
  create table readings (id int primary key, device int, value float8);
  insert into readings select n, n % 3000, n from generate_series(1, ${ROWS}) n;
  create table rules (id int primary key, name text);
  insert into rules select n, 'rule ' || n from generate_series(1, 2000) n;
  create table alerts (id int primary key, rule int references rules, at int);
  insert into alerts select n, 1 + n % 1900, n from generate_series(1, ${ROWS}) n;
  create table events (id int primary key, happened timestamptz, kind text);
  insert into events select n, '2026-01-01'::timestamptz + (n * 7919::bigint % ${ROWS}) * interval '1 min', 'kind ' || n % 5
    from generate_series(1, ${ROWS}) n;
  create table visits (id int primary key, room int, person int);
  insert into visits select n, n % 60, (n / 60) % 60 from generate_series(1, ${ROWS}) n;
  create table bills (id int primary key, customer int, issued date, amount int);
  insert into bills select n, n * 7919 % 500, '2020-01-01'::date + n % 1500, n from generate_series(1, ${ROWS}) n;
  create table jobs (id int primary key, finished timestamptz, payload text);
  insert into jobs select n, case when n % 600 = 0 then null else now() end, repeat('x', 40) from generate_series(1, ${ROWS}) n;
  create table people (id int primary key, email text);
  insert into people select n, 'Person' || n || '@Example.org' from generate_series(1, ${ROWS}) n;
  create table books (id int primary key, title text collate "unicode");
  insert into books select n, md5(n::text) from generate_series(1, ${ROWS}) n;
  create table orders (id int primary key, placed int);
  insert into orders select n, n from generate_series(1, 4000) n;
  create table order_lines (id int primary key, order_id int, item text);
  insert into order_lines select n, n % 4000, 'item' from generate_series(1, ${ROWS}) n;
  create table meters (id int primary key, serial text, room int, at int, colour text);
  insert into meters select n, 'serial ' || n, n % 300, n, 'c' || n % 7 from generate_series(1, ${ROWS}) n;
  create index meters_serial on meters (serial);
  create index meters_room_at on meters (room, at);
  create table pages (id int primary key, mark int, body text);
  alter table pages alter body set storage plain;
  insert into pages select n, n * 7919 % 100, repeat('x', 1000) from generate_series(1, 6000) n;
  create table small (id int primary key, name text);
  insert into small select n, 'name ' || n from generate_series(1, 200) n;
`

export const PLANTED = `
  create index bills_issued_customer on bills (issued, customer);
  create index meters_serial_again on meters (serial);
  create index meters_room on meters (room);
  create index meters_colour on meters (colour);
`

export const HEALTHY = Object.values(PROBLEMS)
  .map(({ heal }) => `${heal};`)
  .join('\n')

/** Asked again and again, with other values each time. */
export const QUESTIONS: readonly (readonly [sql: string, paramsOf: (n: number) => unknown[]])[] = [
  ['select * from readings where device = $1', n => [n]],
  ['select * from events order by happened desc limit 10', () => []],
  ['select * from visits where room = $1 and person = $2', n => [n % 60, (n * 7) % 60]],
  ['select * from bills where customer = $1 and issued >= $2', n => [n, '2023-06-01']],
  ['select id, payload from jobs where finished is null', () => []],
  ['select id from people where lower(email) = $1', n => [`person${n}@example.org`]],
  ['select id from books where title like $1', n => [`${n.toString(16).padStart(3, '0')}%`]],
  [
    'select o.id, l.item from orders o join order_lines l on l.order_id = o.id where o.id = $1',
    n => [n],
  ],
  ['select * from meters where serial = $1', n => [`serial ${n}`]],
  ['select * from meters where room = $1 and at > $2', n => [n % 300, 20_000]],
  ['select * from meters where room = $1', n => [n % 300]],
  // What no index would make better: a whole table, most of one, a small one, a key.
  ['select count(*), sum(value) from readings', () => []],
  ['select count(*) from readings where value > $1', n => [n]],
  ['select kind, count(*) from events group by kind', () => []],
  // Few rows, but on nearly all pages.
  ['select id from pages where mark < $1', () => [8]],
  ['select * from small where name = $1', n => [`name ${n}`]],
  ['select * from readings where id = $1', n => [n]],
  ['delete from rules where id = $1', n => [1_950 + (n % 50)]],
]
