/** emit: what is written down from the tables: PROTOCOL.md, and the README's errors and figures. `npm run emit` writes them,
 *  `--check` compares.
 *  Owns:   PROTOCOL.md, two blocks of README.md.   Not here: the tables (spec.ts, ../errors.ts, bench/RESULTS.md).
 *  Thread: none of the engine's; a tool.
 *  Holds:  the same tables give the same document, to the byte. */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ERRORS, type ErrorSpec, type RetryRule } from '../errors.ts'
import { BODY_BYTES_MAX, HEADER_BYTES } from './header.ts'
import { type ArgKind, DURABILITY, type FrameSpec, OPS, PROTOCOL_VERSION, REPLIES } from './spec.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const TARGET = join(import.meta.dirname, 'PROTOCOL.md')
const README = join(ROOT, 'README.md')

const KINDS: Record<ArgKind, string> = {
  text: 'msgpack str, UTF-8',
  uint: 'unsigned integer; past 32 bits a float64 that holds a whole number',
  time: 'float64 or unsigned integer, milliseconds since 1970; Infinity: never',
  ttl: 'nil: the default; unsigned integer: milliseconds; str: the name of a policy',
  any: 'one msgpack value, decoded by the receiver',
  raw: 'one msgpack value that Hearth stores and returns as it is; always the last',
  bytes: 'plain bytes up to the end of the frame; always the last',
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
  [...(spec.replies ?? []), 'ERROR'].join(', '),
  spec.repeatable === true ? 'yes' : 'no',
  spec.doc,
])}

Repeatable: may be sent again after a reconnect, since doing it twice is doing it once.

## Replies

| op | name | arguments | |
| --- | --- | --- | --- |
${rows(onSocket(REPLIES), ([name, spec]) => [hex(spec.code), name, argsOf(spec), spec.doc])}

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
  return withBlock(withBlock(readme, 'errors', errorRows()), 'figures', figures.trim())
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
    writeFileSync(README, renderReadme())
  } else if (emitted() !== render() || readFileSync(README, 'utf8') !== renderReadme()) {
    console.error('engine/protocol/PROTOCOL.md or README.md is stale: run `npm run emit`')
    process.exitCode = 1
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main(process.argv.slice(2))
