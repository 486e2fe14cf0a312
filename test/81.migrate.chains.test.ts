/** Migrations at random, up and by their generated ways back: the catalog must be what it was, to the letter.
 *  Owns:   one server, one database.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  two witnesses: the catalog as `verify` takes it, and the views of Postgres that anybody would look at. */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import { changesBetween, takeCatalog } from '../engine/migrate/catalog.ts'
import { DirectConnection } from '../engine/migrate/direct_connection.ts'
import type { Generated } from '../engine/migrate/down_file.ts'
import { createHistory } from '../engine/migrate/history.ts'
import { down, type Events, up } from '../engine/migrate/runner.ts'
import { SETTINGS, SILENT } from './helpers/migrate.ts'
import { BASE, Draws, drawChain } from './helpers/migrate_chain.ts'
import { sharedPostgres } from './helpers/postgres.ts'
import { FULL, runs } from './helpers/random.ts'

let connection: DirectConnection

before(async () => {
  const postgres = await sharedPostgres()
  connection = await DirectConnection.open(await postgres.createDatabase(), 'chains')
  await connection.run(BASE)
  await createHistory(connection)
})
after(() => connection?.close())

/** What Postgres' own views show. Column numbers are no part of it: what was dropped leaves a gap. */
const VIEWS = `
select format('%s %s.%s %s %s %s', table_schema, table_name, column_name, data_type, is_nullable, column_default)
  from information_schema.columns where table_schema = 'public'
union all select indexdef from pg_indexes where schemaname = 'public'
union all select format('%s %s', viewname, definition) from pg_views where schemaname = 'public'
union all select format('%s %s', conname, pg_get_constraintdef(oid)) from pg_constraint where connamespace = 'public'::regnamespace
union all select format('%s %s', trigger_name, action_statement) from information_schema.triggers
union all select format('%s %s %s', grantee, table_name, privilege_type) from information_schema.table_privileges
  where table_schema = 'public' and grantee <> 'postgres'
union all select prosrc from pg_proc where pronamespace = 'public'::regnamespace
union all select enumlabel from pg_enum
union all select nspname from pg_namespace
union all select sequencename from pg_sequences order by 1`

async function views(): Promise<string[]> {
  return (await connection.ask(VIEWS)).rows.map(([line]) => line!)
}

const numbers = fc.array(fc.nat(1_000_000), { minLength: 10, maxLength: 120, size: 'max' })
const { numRuns } = runs(25, 200)

test(`${numRuns} chains of migrations, up and down by generated scripts, give back the identical catalog`, {
  timeout: FULL ? 900_000 : 120_000,
}, async () => {
  const counts = { migrations: 0, statements: 0 }
  await fc.assert(
    fc.asyncProperty(numbers, fc.integer({ min: 1, max: 3 }), async (draws, count) => {
      const texts = drawChain(new Draws(draws), count)
      counts.migrations += count
      counts.statements += texts.join('').split(';\n').length - 1
      await upAndDown(texts)
    }),
    { ...runs(25, 200), endOnFailure: true },
  )
  console.log(`# ${counts.statements} statements in ${counts.migrations} migrations`)
})

async function upAndDown(texts: readonly string[]): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-chains-'))
  const settings = { ...SETTINGS, folder }
  const made: Generated[] = []
  const events: Events = {
    ...SILENT,
    done: (_task, { generated }) => generated && made.push(generated),
  }
  const catalogBefore = await takeCatalog(connection)
  const viewsBefore = await views()
  try {
    texts.forEach((text, index) => {
      writeFileSync(join(folder, `000${index + 1}_random.up.sql`), text)
    })
    const count = await up(connection, settings, {}, events)
    assert.equal(count, texts.length)
    assert.deepEqual(
      made.flatMap(({ refusals }) => refusals),
      [],
    )
    await down(connection, settings, { count }, events)
    assert.deepEqual(changesBetween(catalogBefore, await takeCatalog(connection)), [])
    assert.deepEqual(await views(), viewsBefore)
  } catch (error) {
    console.log(`# ${texts.join('--\n').replaceAll('\n', '\n# ')}`)
    throw error
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
