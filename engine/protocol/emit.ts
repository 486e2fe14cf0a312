/** emit: what is written down from the tables: PROTOCOL.md, pg_types.h, Prometheus' rules files, and blocks of the README.
 *  `npm run emit` writes them, `--check` compares.
 *  Owns:   PROTOCOL.md, native-bindings/src/pg_types.h, engine/deploy/prometheus/*.rules.yml, four blocks of README.md.
 *  Not here: the tables (spec.ts, pg_types.ts, ../errors.ts, ../observe/metric_spec.ts, ../observe/alerts/alert_spec.ts,
 *  bench/RESULTS.md).
 *  Thread: none of the engine's; a tool.
 *  Holds:  the same tables give the same document, to the byte. */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ERRORS, type ErrorSpec, type RetryRule } from '../errors.ts'
import type { AlertGroup } from '../observe/alerts/alert_spec.ts'
import { alertRows, rulesYaml } from '../observe/alerts/prometheus_rules.ts'
import { METRICS, type MetricSpec } from '../observe/metric_spec.ts'
import { BODY_BYTES_MAX, HEADER_BYTES } from './header.ts'
import { PG_BINARIES, PG_KINDS, PG_TYPES, type PgKind, type PgType } from './pg_types.ts'
import { type ArgKind, DURABILITY, type FrameSpec, OPS, PROTOCOL_VERSION, REPLIES } from './spec.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const TARGET = join(import.meta.dirname, 'PROTOCOL.md')
const README = join(ROOT, 'README.md')
const RULES = join(ROOT, 'engine', 'deploy', 'prometheus')
const PG_TYPES_HEADER = join(ROOT, 'native-bindings', 'src', 'pg_types.h')

const KINDS: Record<ArgKind, string> = {
  text: 'msgpack str, UTF-8',
  texts: 'array of str',
  uints: 'array of unsigned integers',
  entries: 'array: a str and a bin, which holds one msgpack value, by turns',
  maybe: 'nil, or an unsigned integer',
  number: 'float64',
  uint: 'unsigned integer; past 32 bits a float64 that holds a whole number',
  time: 'float64 or unsigned integer, milliseconds since 1970; Infinity: never',
  ttl: 'nil: the default; unsigned integer: milliseconds; str: the name of a policy',
  any: 'one msgpack value, decoded by the receiver',
  raw: 'one msgpack value that Hearth stores and returns as it is; always the last',
  bytes: 'plain bytes up to the end of the frame; always the last',
  shape: 'msgpack bin: the columns of a result, see below',
  count: 'nil or unsigned integer, as uint',
  values: 'one msgpack array: the values of a result, row after row; always the last',
}

/** How a value of each kind stands in a body, and what it is read as. */
const VALUES: Record<PgKind, readonly [inBody: string, readAs: string]> = {
  text: ['str: the text that Postgres gives', 'string'],
  bool: ['true, false', 'boolean'],
  int: ['integer', 'number'],
  int8: [
    'integer up to 2^53 - 1 either side of 0, past 32 bits as float64; beyond that int64',
    'number; int64: bigint',
  ],
  float: ['float64, also NaN and the infinities', 'number'],
  bytea: ['bin', 'Buffer'],
  json: ['str: the JSON', 'what the JSON says'],
  timestamp: [
    'float64: the wall clock in milliseconds since 1970-01-01 00:00, as if it were UTC',
    "Date that shows this wall clock in the reader's time zone",
  ],
  timestamptz: ['float64: milliseconds since 1970 UTC', 'Date'],
}

const RETRY: Record<RetryRule, string> = {
  later: 'after `retryAfterMs`, or a pause',
  reads: 'if it only reads',
  no: 'no',
}

/** The whole document. */
export function render(): string {
  return `<!-- Generated from spec.ts and ../errors.ts by emit.ts. Do not edit: \`npm run emit\`. -->

# Hearth's wire protocol, version ${PROTOCOL_VERSION}

Frames over a Unix socket, in both directions, any number in flight. A client sends \`HELLO\` first. Each request
carries an id of the client's choice; every frame that answers it carries the same id. Replies come in any order.

## A frame

\`\`\`text
byte   0        1                 4                 ${HEADER_BYTES}
       | op : 8 | body bytes : 24 | request id : 32 | body ...          little-endian
\`\`\`

The body is at most ${BODY_BYTES_MAX.toLocaleString('en')} bytes: its arguments, one msgpack value after another, without an array around
them. Requests have an op below \`0x80\`, replies from \`0x80\` up. A frame that does not follow the tables is answered
with \`PROTOCOL\`, and ends the connection that sent it.

| argument | is |
| --- | --- |
${rows(Object.entries(KINDS), ([kind, doc]) => [kind, doc])}

Durability in \`SET\`: ${Object.entries(DURABILITY)
    .map(([name, code]) => `${code} ${name}`)
    .join(', ')}.

## Requests

| op | name | arguments | replies | repeatable | |
| --- | --- | --- | --- | --- | --- |
${rows(onSocket(OPS), ([name, spec]) => [
  hex(spec.code),
  name,
  argsOf(spec),
  spec.replies === undefined ? '—' : [...spec.replies, 'ERROR'].join(', '),
  spec.repeatable === true ? 'yes' : 'no',
  spec.doc,
])}

Repeatable: may be sent again after a reconnect, since doing it twice is doing it once.

## Replies

| op | name | arguments | |
| --- | --- | --- | --- |
${rows(onSocket(REPLIES), ([name, spec]) => [hex(spec.code), name, argsOf(spec), spec.doc])}

## The result of a statement

The arguments of \`ROWS\`:

1. \`source\`: who answered: \`primary\`, \`replica:<name>\`, \`memory\` or \`sqlite\`.
2. \`shape\`: a bin whose bytes are themselves msgpack: an array \`[name, oid, name, oid, …]\` of the columns and their types'
   oids. It is the same, to the byte, for every result of a statement, so a reader knows it again by its bytes.
3. \`command\`: the first word of Postgres' command tag, such as \`SELECT\`.
4. \`rowCount\`: the rows returned or changed, nil for commands that count none.
5. \`values\`: one array of rows × columns values, row after row. Where there are no columns, a nil for each row.

A value is written by the type of its column; a type that is not in this table is text.

| types | in the body | read as |
| --- | --- | --- |
${rows(PG_KINDS, kind => [typesOf(kind), ...VALUES[kind]])}

- SQL's null is nil. The infinities of timestamps are those of float64, read as numbers.
- Microseconds are cut off to milliseconds, within their second.
- An array of a type of this table is a msgpack array of such values, nested where it has dimensions; its bounds are left out.
  Of other types, and where its text is no whole array, it is a str.
- What does not parse as its type says (another DateStyle, a moment that no Date can hold) is a str with Postgres' text, and so
  it is read.
- A column named \`__proto__\` has the key \`__proto_\` in its row; of two columns with one name the later stands.

## Errors

\`ERROR\` carries the wire number. Users match the code, never the message.

| wire | code | may be sent again | |
| --- | --- | --- | --- |
${rows(Object.entries<ErrorSpec>(ERRORS), ([code, spec]) => [
  hex(spec.wire),
  code,
  RETRY[spec.retry],
  spec.text,
])}

## Inside the engine

These frames pass between the main thread and its workers only; on a socket they are \`PROTOCOL\`. Frames marked both
ways above have the same arguments there.

| op | name | arguments | |
| --- | --- | --- | --- |
${rows(onRingAlone({ ...OPS, ...REPLIES }), ([name, spec]) => [hex(spec.code), name, argsOf(spec), spec.doc])}
`
}

/** README.md with its generated blocks renewed. */
export function renderReadme(): string {
  const results = readOr(join(ROOT, 'bench', 'RESULTS.md'), '')
  const figures = results.slice(results.indexOf('\n\n', results.indexOf('README.md beside')) + 2)
  const readme = readFileSync(README, 'utf8')
  const blocks = {
    errors: errorRows(),
    metrics: metricRows(),
    alerts: alertRows(),
    figures: figures.trim(),
  }
  return Object.entries(blocks).reduce(
    (text, [name, content]) => withBlock(text, name, content),
    readme,
  )
}

/** native-bindings/src/pg_types.h, whole. */
export function renderPgTypes(): string {
  const kindOf = (each: PgType): string => `KIND_${each.kind.toUpperCase()}`
  const text = PG_TYPES.filter(each => each.kind !== 'text')
  const binary = PG_TYPES.filter(each => each.binary !== 'none')
  return `/** pg_types: what a column's type means for its values. Plain C.
 *  Generated from engine/protocol/pg_types.ts by engine/protocol/emit.ts. Do not edit: \`npm run emit\`.
 *  Owns: nothing.   Thread: any.   Holds: a type that is not here is KIND_TEXT and has no binary form. */
#ifndef HEARTH_PG_TYPES_H
#define HEARTH_PG_TYPES_H

/** An array's kind is that of its elements with KIND_ARRAY added. */
typedef enum pg_kind {
${PG_KINDS.map((kind, i) => `    KIND_${kind.toUpperCase()} = ${i},`).join('\n')}
    KIND_ARRAY = 16
} pg_kind_t;

/** How the binary form is laid out, where it is known. */
typedef enum pg_binary {
${PG_BINARIES.map((form, i) => `    BINARY_${form.toUpperCase()} = ${i}`).join(',\n')}
} pg_binary_t;

static inline int pg_kind_of(unsigned int oid) {
    switch (oid) {
${text.map(each => `        case ${each.oid}: return ${kindOf(each)}; /* ${each.name} */`).join('\n')}
${PG_TYPES.map(each => `        case ${each.arrayOid}: return KIND_ARRAY | ${kindOf(each)}; /* ${each.name}[] */`).join('\n')}
        default: return KIND_TEXT;
    }
}

static inline pg_binary_t pg_binary_of(unsigned int oid) {
    switch (oid) {
${binary.map(each => `        case ${each.oid}: return BINARY_${each.binary.toUpperCase()}; /* ${each.name} */`).join('\n')}
        default: return BINARY_NONE;
    }
}

#endif
`
}

/** Prometheus' rules files, whole, by path. */
export function renderRules(): Record<string, string> {
  const groups: readonly AlertGroup[] = ['database', 'cache', 'engine']
  const fileOf = (group: AlertGroup) => join(RULES, `hearth-${group}.rules.yml`)
  return Object.fromEntries(groups.map(group => [fileOf(group), rulesYaml(group)]))
}

/** What pg_types.h has now; empty when there is none. */
export function emittedPgTypes(): string {
  return readOr(PG_TYPES_HEADER, '')
}

/** What PROTOCOL.md has now; empty when there is none. */
export function emitted(): string {
  return readOr(TARGET, '')
}

function errorRows(): string {
  return `| code | may be sent again | |
| --- | --- | --- |
${rows(Object.entries<ErrorSpec>(ERRORS), ([code, spec]) => [`\`${code}\``, RETRY[spec.retry], spec.text])}`
}

function metricRows(): string {
  return `| metric | type | labels | |
| --- | --- | --- | --- |
${rows(Object.entries<MetricSpec>(METRICS), ([name, { type, labels, help }]) => [
  `\`${name}\``,
  type,
  labels.join(', ') || '—',
  help,
])}`
}

function withBlock(text: string, name: string, content: string): string {
  const start = text.indexOf('-->', text.indexOf(`<!-- ${name}:`)) + 3
  const end = text.indexOf(`<!-- /${name} -->`)
  return `${text.slice(0, start)}\n\n${content}\n\n${text.slice(end)}`
}

function readOr(file: string, otherwise: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return otherwise
  }
}

function typesOf(kind: PgKind): string {
  const names = PG_TYPES.filter(each => each.kind === kind).map(({ name }) => name)
  return kind === 'text' ? `${names.join(', ')}, all others` : names.join(', ')
}

type Table = Record<string, FrameSpec>

function onSocket(table: Table): [string, FrameSpec][] {
  return Object.entries(table).filter(([, spec]) => spec.on !== 'ring')
}

function onRingAlone(table: Table): [string, FrameSpec][] {
  return Object.entries(table).filter(([, spec]) => spec.on === 'ring')
}

function argsOf(spec: FrameSpec): string {
  return spec.args.map(([name, kind]) => `${name}: ${kind}`).join(', ') || '—'
}

function rows<Item>(items: readonly Item[], cells: (item: Item) => readonly string[]): string {
  return items.map(item => `| ${cells(item).map(cell).join(' | ')} |`).join('\n')
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}

function hex(code: number): string {
  return `\`0x${code.toString(16).padStart(2, '0')}\``
}

function main(args: readonly string[]): void {
  if (args.length > 1 || (args[0] !== undefined && args[0] !== '--check')) {
    console.error('usage: node engine/protocol/emit.ts [--check]')
    process.exitCode = 2
  } else if (args[0] === undefined) {
    writeFileSync(TARGET, render())
    writeFileSync(PG_TYPES_HEADER, renderPgTypes())
    writeFileSync(README, renderReadme())
    for (const [file, text] of Object.entries(renderRules())) writeFileSync(file, text)
  } else if (
    emitted() !== render() ||
    emittedPgTypes() !== renderPgTypes() ||
    readFileSync(README, 'utf8') !== renderReadme() ||
    Object.entries(renderRules()).some(([file, text]) => readOr(file, '') !== text)
  ) {
    console.error(
      'engine/protocol/PROTOCOL.md, native-bindings/src/pg_types.h, README.md or a rules file of engine/deploy/prometheus is stale: run `npm run emit`',
    )
    process.exitCode = 1
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main(process.argv.slice(2))
