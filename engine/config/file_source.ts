/** File source: finds the TOML file, reads it, and puts its keys into the draft, each with its
 *  line.
 *  Owns:   the order in which places are looked at.   Not here: syntax (toml.ts), meaning
 *          (draft.ts).
 *  Thread: main, at start and reload; reads synchronously.
 *  Holds:  (1) a file that was asked for must exist; the two usual places may be empty, but what is
 *          there and cannot be read is a problem, never skipped.  (2) FILE_BYTES_MAX are read at
 *          most. */

import { closeSync, openSync, readSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { HearthError } from '../errors.ts'
import type { Draft, Origin } from './draft.ts'
import { keyLines, pathId } from './key_lines.ts'
import type { Path } from './keys.ts'
import type { Environment } from './socket_path.ts'
import { parseToml } from './toml.ts'

export const SYSTEM_FILE = '/etc/hearth/hearth.toml'
const FILE_BYTES_MAX = 1024 * 1024

export interface ConfigFile {
  readonly path: string
  readonly text: string
}

/** `--config`, `$HEARTH_CONFIG`, `./hearth.toml`, `/etc/hearth/hearth.toml`: the first that is
 *  named or there. */
export function findConfigFile(
  file: string | undefined,
  env: Environment,
  cwd: string,
): ConfigFile | undefined {
  const asked = file || env['HEARTH_CONFIG']
  if (asked) {
    const by = file ? '--config' : '$HEARTH_CONFIG'
    const found = readConfigFile(resolve(cwd, asked))
    if (found !== undefined) return found
    throw new HearthError('BAD_REQUEST', `${resolve(cwd, asked)}: no such file, named by ${by}`)
  }
  return readConfigFile(resolve(cwd, 'hearth.toml')) ?? readConfigFile(SYSTEM_FILE)
}

/** Puts every key of the file into the draft. A syntax error throws: nothing after it can be
 *  trusted. */
export function readFileInto(draft: Draft, file: ConfigFile): void {
  const parsed = parseToml(file.text)
  if ('error' in parsed) {
    const { line, reason } = parsed.error
    throw new HearthError('BAD_REQUEST', `${file.path}:${line}: not valid TOML: ${reason}`)
  }
  const lines = keyLines(file.text)
  const locate = (parent: Path, name: string) => {
    const path = [...parent, name]
    const line = lines.get(pathId(path))
    const where = line === undefined ? file.path : `${file.path}:${line}`
    return { path, origin: { from: 'file', where } satisfies Origin }
  }
  draft.setAll(parsed.table, [], locate, { source: 'file', baseDir: dirname(file.path) })
}

function readConfigFile(path: string): ConfigFile | undefined {
  let bytes: Uint8Array
  try {
    bytes = readBounded(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    const hint = code === 'EACCES' ? 'let the user of the engine read it' : 'expected a TOML file'
    throw new HearthError('BAD_REQUEST', `${path}: cannot be read (${code}); ${hint}`)
  }
  if (bytes.byteLength > FILE_BYTES_MAX) {
    throw new HearthError('BAD_REQUEST', `${path}: larger than 1MiB, expected a TOML file`)
  }
  try {
    return { path, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) }
  } catch {
    throw new HearthError('BAD_REQUEST', `${path}:${badLine(bytes)}: not UTF-8, which TOML must be`)
  }
}

/** In pieces, since a pipe or a device has no size to ask for; one byte over the limit shows that
 *  it is too large. */
function readBounded(path: string): Uint8Array {
  const descriptor = openSync(path, 'r')
  try {
    const pieces: Uint8Array[] = []
    let left = FILE_BYTES_MAX + 1
    while (left > 0) {
      const piece = new Uint8Array(Math.min(left, 8 * 1024))
      const count = readSync(descriptor, piece)
      if (count === 0) break
      pieces.push(piece.subarray(0, count))
      left -= count
    }
    return Buffer.concat(pieces)
  } finally {
    closeSync(descriptor)
  }
}

/** The first line that does not survive decoding and encoding. */
function badLine(bytes: Uint8Array): number {
  const lines = Buffer.from(bytes).toString('utf8').split('\n')
  return lines.findIndex(line => line.includes('\uFFFD')) + 1
}
