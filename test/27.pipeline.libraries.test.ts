/** 27: the other tests of pipelines once more, on the other libpq of this machine: one with and one without the functions
 *  of release 17 (one send for many requests, closing a statement, cancelling without blocking).
 *  Owns: child processes.   Thread: main of a test process.   Runs: alone, since its children start servers.
 *  Holds: the process's own libpq is what the files themselves run on. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { newerLibpq } from '../native-bindings/index.ts'
import search from '../native-bindings/libpq_search.cjs'
import { FULL } from './helpers/random.ts'

const ROOT = join(import.meta.dirname, '..')
const FILES = ['answers', 'parameters', 'loss', 'threads']

const other = newerLibpq() === undefined ? undefined : search.systemLibpq()
const skip =
  other === undefined ? 'only one libpq is installed' : !FULL && 'HEARTH_TEST_FULL=1 runs it (40 s)'

for (const name of FILES) {
  test(`27.pipeline.${name} on ${other ?? 'another libpq'}`, { skip }, async () => {
    const file = join(import.meta.dirname, `27.pipeline.${name}.test.ts`)
    const { NODE_TEST_CONTEXT: _, ...environment } = process.env
    const env = { ...environment, HEARTH_TEST_LIBPQ: other }
    const { code, stdout } = await new Promise<{ code: number | null; stdout: string }>(resolve => {
      const child = execFile(process.execPath, [file], { cwd: ROOT, env }, (_error, stdout) =>
        resolve({ code: child.exitCode, stdout }),
      )
    })
    assert.equal(code, 0, stdout)
    assert.match(stdout, /pass [1-9]/)
  })
}
