/** migrate_chain: migrations at random: statements that fit what is there, each of which can be undone.
 *  Owns:   the model of what is there while it draws.   Thread: main of a test process.
 *  Holds:  the same draws give the same text. Nothing in it is in doubt or loses data: whatever it gives must be inverted. */

/** A source of draws that never ends: when the given ones are used up, it gives 0. */
export class Draws {
  private readonly numbers: readonly number[]
  private at = 0
  constructor(numbers: readonly number[]) {
    this.numbers = numbers
  }
  below(bound: number): number {
    return (this.numbers[this.at++] ?? 0) % bound
  }
  pick<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]!
  }
}

interface Column {
  name: string
  type: string
  isNotNull: boolean
  hasDefault: boolean
  /** Its type cannot be changed. */
  isInView?: true
}

interface Table {
  name: string
  columns: Column[]
  constraints: string[]
  indexes: string[]
  triggers: string[]
}

export const BASE = `
create table rooms (id int primary key, name text not null default 'a', floor int default 1, size numeric(6,2) not null,
  constraint sized check (size > 0));
create index rooms_floor on rooms (floor) where floor > 0;
create table "Lamp ""s" (id int not null, room int references rooms, watt varchar(10) default '5'::varchar, "select" int);
create type mood as enum ('good', 'it''s bad');
create view upper_rooms as select id, name from rooms where floor > 1;
create function noted() returns trigger language plpgsql as $$ begin return new; end $$;
create function twice(n int) returns int language sql immutable as 'select n * 2';
comment on table rooms is 'where people are';
insert into rooms values (1, 'kitchen', 0, 12.5), (2, 'attic', 3, 20);
insert into "Lamp ""s" values (1, 1, '60', null);
`

const TYPES = [
  'int',
  'bigint',
  'text',
  'varchar(20)',
  'numeric(8,2)',
  'timestamptz',
  'mood',
  'int[]',
  'jsonb',
]

/** Draws the text of `count` migrations, which are to run in this order on BASE. */
export function drawChain(draws: Draws, count: number): string[] {
  const model = new Model(draws)
  return Array.from({ length: count }, () => {
    const statements = Array.from({ length: 1 + draws.below(5) }, () => model.statement())
    return statements.map(each => `${each};\n`).join('')
  })
}

class Model {
  private readonly draws: Draws
  private next = 0
  private readonly tables: Table[] = [
    {
      name: 'rooms',
      columns: [
        { name: 'floor', type: 'int', isNotNull: false, hasDefault: true, isInView: true },
        { name: 'name', type: 'text', isNotNull: true, hasDefault: true },
      ],
      constraints: ['sized'],
      indexes: ['rooms_floor'],
      triggers: [],
    },
    {
      name: '"Lamp ""s"',
      columns: [
        { name: '"select"', type: 'int', isNotNull: false, hasDefault: false },
        { name: 'watt', type: 'varchar(10)', isNotNull: false, hasDefault: true },
      ],
      constraints: [],
      indexes: [],
      triggers: [],
    },
  ]
  private readonly views: string[] = ['upper_rooms']
  private isRenamed = false

  constructor(draws: Draws) {
    this.draws = draws
  }

  statement(): string {
    const { draws } = this
    const kinds: (() => string | undefined)[] = [
      () => this.createTable(),
      () => this.addColumn(),
      () => this.addColumn(),
      () => this.addConstraint(),
      () => this.addConstraint(),
      () => this.createIndex(),
      () => this.dropIndex(),
      () => this.dropConstraint(),
      () => this.changeDefault(),
      () => this.changeNotNull(),
      () => this.changeType(),
      () => this.renameColumn(),
      () => this.renameTable(),
      () => this.createType(),
      () => this.renameType(),
      () => this.createView(),
      () => this.createFunction(),
      () => this.createTrigger(),
      () => this.comment(),
      () => this.toggle(),
      () => this.grant(),
      () => this.several(),
    ]
    for (;;) {
      const text = draws.pick(kinds)()
      if (text !== undefined) return text
      kinds[0] = () => `create schema ${this.name('s')}`
    }
  }

  private name(head: string): string {
    const bare = `${head}${++this.next}`
    return this.draws.below(4) === 0 ? `"${bare} X"` : bare
  }

  private table(): Table {
    return this.draws.pick(this.tables)
  }

  private createTable(): string {
    const { draws } = this
    const name = this.name('t')
    const column = this.name('c')
    const constraints: string[] = []
    const key = draws.pick([
      'serial primary key',
      'int generated always as identity',
      'uuid unique',
    ])
    const parts = [`id ${key}`, `${column} int not null default 7`]
    if (draws.below(2) === 0) parts.push('at timestamptz default now()')
    if (draws.below(3) === 0) parts.push('room int references rooms (id) on delete cascade')
    if (draws.below(3) === 0) {
      const constraint = this.name('k')
      constraints.push(constraint)
      parts.push(`constraint ${constraint} check (${column} > 0)`)
    }
    const columns = [{ name: column, type: 'int', isNotNull: true, hasDefault: true }]
    this.tables.push({ name, columns, constraints, indexes: [], triggers: [] })
    return `create table ${name} (${parts.join(', ')})`
  }

  private addColumn(): string {
    const table = this.table()
    return `alter table ${table.name} ${this.columnPart(table)}`
  }

  private columnPart(table: Table): string {
    const { draws } = this
    const name = this.name('c')
    const type = draws.pick(TYPES)
    const hasDefault = type === 'int' && draws.below(2) === 0
    table.columns.push({ name, type, isNotNull: hasDefault, hasDefault })
    const rest = hasDefault ? ' not null default 3' : draws.below(5) === 0 ? ' unique' : ''
    return `add column ${name} ${type}${type === 'jsonb' ? '' : rest}`
  }

  private addConstraint(): string | undefined {
    const { draws } = this
    const table = this.table()
    const column = table.columns.find(({ type }) => type === 'int')
    if (column === undefined) return undefined
    const isNamed = draws.below(2) === 0
    const name = this.name('k')
    if (isNamed) table.constraints.push(name)
    const head = `alter table ${table.name} add ${isNamed ? `constraint ${name} ` : ''}`
    return (
      head +
      this.draws.pick([
        `check (${column.name} is distinct from -1)`,
        `check (${column.name} > -5) not valid`,
        `unique (${column.name}, ${table.columns.at(-1)!.type === 'jsonb' ? column.name : table.columns.at(-1)!.name})`.replace(
          `(${column.name}, ${column.name})`,
          `(${column.name})`,
        ),
        `foreign key (${column.name}) references rooms (id) not valid`,
      ])
    )
  }

  private dropConstraint(): string | undefined {
    const table = this.table()
    const name = table.constraints.pop()
    return name && `alter table ${table.name} drop constraint ${name}`
  }

  private createIndex(): string {
    const { draws } = this
    const table = this.table()
    const column = draws.pick(table.columns)
    const isNamed = draws.below(3) > 0
    const name = this.name('i')
    if (isNamed) table.indexes.push(name)
    const method = column.type === 'jsonb' || column.type === 'int[]' ? ' using gin' : ''
    return `create index ${isNamed ? name : ''} on ${table.name}${method} (${column.name})`
  }

  private dropIndex(): string | undefined {
    const name = this.table().indexes.pop()
    return name && `drop index ${name}`
  }

  private changeDefault(): string | undefined {
    const table = this.table()
    const column = table.columns.find(({ type }) => type === 'int')
    if (column === undefined) return undefined
    return `alter table ${table.name} alter column ${column.name} ${this.draws.pick([
      'set default 42',
      'drop default',
      'set default 1 + length(current_user)',
    ])}`
  }

  private changeNotNull(): string | undefined {
    const table = this.table()
    const column = table.columns.find(({ isNotNull }) => isNotNull)
    if (column === undefined) return undefined
    column.isNotNull = false
    return `alter table ${table.name} alter column ${column.name} drop not null`
  }

  private changeType(): string | undefined {
    const table = this.table()
    const column = table.columns.find(
      ({ type, isInView }) => (type === 'int' || type.startsWith('varchar')) && !isInView,
    )
    if (column === undefined) return undefined
    column.type = column.type === 'int' ? 'bigint' : 'text'
    return `alter table ${table.name} alter column ${column.name} type ${column.type}`
  }

  private renameColumn(): string | undefined {
    const table = this.table()
    const column = this.draws.pick(table.columns)
    const was = column.name
    column.name = this.name('r')
    return `alter table ${table.name} rename column ${was} to ${column.name}`
  }

  private renameTable(): string | undefined {
    const table = this.table()
    if (table.name === 'rooms') return undefined
    const was = table.name
    table.name = this.name('t')
    return `alter table ${was} rename to ${table.name}`
  }

  private createType(): string {
    const name = this.name('e')
    return this.draws.pick([
      `create type ${name} as enum ('a', 'b''c')`,
      `create domain ${name} as int check (value > 0)`,
      `create type ${name} as (x int, y text)`,
    ])
  }

  private renameType(): string | undefined {
    if (this.isRenamed) return undefined
    this.isRenamed = true
    return `alter type mood rename value 'good' to 'fine'`
  }

  private createView(): string {
    const { draws } = this
    if (draws.below(2) === 0 && !this.views.includes('replaced')) {
      this.views.push('replaced')
      const column = this.tables[0]!.columns.find(({ type }) => type === 'text')!
      return `create or replace view upper_rooms as select id, ${column.name} as name, size from rooms where id > 1`
    }
    const table = this.table()
    const name = this.name('v')
    // Of a constant: later statements may change whatever a view of a column would hold.
    return `create ${draws.pick(['', 'materialized '])}view ${name} as select count(*) as n from ${table.name}`
  }

  private createFunction(): string {
    if (this.draws.below(2) === 0)
      return `create or replace function twice(n int) returns int language sql immutable as 'select n + n + ${this.next++}'`
    const name = this.name('f')
    return `create function ${name}(a int, b text default 'x') returns text language sql as 'select b'`
  }

  private createTrigger(): string {
    const table = this.table()
    const name = this.name('g')
    table.triggers.push(name)
    return `create trigger ${name} before insert or update on ${table.name} for each row execute function noted()`
  }

  private comment(): string {
    const table = this.table()
    const text = this.draws.pick([`'it''s'`, 'null', `'new'`])
    return this.draws.below(2) === 0
      ? `comment on table ${table.name} is ${text}`
      : `comment on column ${table.name}.${this.draws.pick(table.columns).name} is ${text}`
  }

  private toggle(): string {
    return `alter table ${this.table().name} ${this.draws.pick([
      'enable row level security',
      'force row level security',
    ])}`
  }

  private grant(): string {
    return `grant ${this.draws.pick(['select', 'insert, update', 'select (id)'])} on ${this.table().name} to public`
  }

  /** Commands of one ALTER TABLE. */
  private several(): string {
    const table = this.table()
    return `alter table ${table.name} ${this.columnPart(table)}, ${this.columnPart(table)}`
  }
}
