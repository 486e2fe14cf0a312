/** No state of the cache file keeps tier 2 from starting: what cannot be used is set aside, and a new file begun.
 *  Owns:   temporary folders.   Thread: main of a test process.
 *  Holds:  after each kind of damage the tier takes writes, and the damaged file is kept under a name with a time. */

import assert from 'node:assert/strict'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname } from 'node:path'
import { describe, test } from 'node:test'
import { monotonicMs } from '../engine/clock.ts'
import { PART_BYTES } from '../engine/limits.ts'
import { OPS } from '../engine/protocol/spec.ts'
import { setAside } from '../workers/sqlite/quarantine.ts'
import { bodyOf, optionsFor, Tier, temporaryFolder } from './helpers/sqlite.ts'

const Database = createRequire(import.meta.url)('better-sqlite3') as typeof import('better-sqlite3')
const PAGE_BYTES = 4_096

function asideOf(file: string): string[] {
  return readdirSync(dirname(file))
    .filter(name => name.startsWith(`${basename(file)}.damaged-`))
    .sort()
}

/** A closed file with 3 000 keys. */
function filled(): string {
  const options = optionsFor(temporaryFolder())
  const tier = new Tier(options)
  for (let i = 0; i < 3_000; i++) tier.put(`key:${i}`, Buffer.alloc(200, i))
  tier.flush()
  tier.close()
  return options.file
}

function overwrite(file: string, at: number, bytes: Buffer): void {
  const handle = openSync(file, 'r+')
  writeSync(handle, bytes, 0, bytes.length, at)
  closeSync(handle)
}

function withSql(file: string, sql: string): void {
  const database = new Database(file)
  database.exec(sql)
  database.close()
}

const noise = Buffer.from(Array.from({ length: PAGE_BYTES }, (_, i) => (i * 197 + 13) & 0xff))

const DAMAGE: Record<string, () => string> = {
  'that is text': () => {
    const { file } = optionsFor(temporaryFolder())
    writeFileSync(file, 'this is no database\n'.repeat(1_000))
    return file
  },
  'of random bytes': () => {
    const { file } = optionsFor(temporaryFolder())
    writeFileSync(file, Buffer.concat(Array(20).fill(noise)))
    return file
  },
  'cut in half': () => {
    const file = filled()
    truncateSync(file, Math.floor(statSync(file).size / 2))
    return file
  },
  'cut within its header': () => {
    const file = filled()
    truncateSync(file, 60)
    return file
  },
  'with a broken header': () => {
    const file = filled()
    overwrite(file, 0, noise.subarray(0, 100))
    return file
  },
  'with pages of noise in its middle': () => {
    const file = filled()
    for (let page = 20; page < 60; page++) overwrite(file, page * PAGE_BYTES, noise)
    return file
  },
  'of another schema version': () => {
    const file = filled()
    withSql(file, 'pragma user_version = 77')
    return file
  },
  'of another application': () => {
    const { file } = optionsFor(temporaryFolder())
    withSql(file, 'create table precious (id integer primary key); insert into precious values (1)')
    return file
  },
  'without its tables': () => {
    const file = filled()
    withSql(file, 'drop table parts; drop table entries')
    return file
  },
  'that is a folder': () => {
    const { file } = optionsFor(temporaryFolder())
    mkdirSync(file)
    return file
  },
}

describe('at the start, a file', () => {
  for (const [name, make] of Object.entries(DAMAGE)) {
    test(`${name} is set aside and a new one begun`, () => {
      const file = make()
      const tier = new Tier(optionsFor(dirname(file)))
      assert.equal(tier.health().reason, undefined)
      assert.ok(tier.handler.stats()['setAsideAs'], 'before the first request')
      assert.equal(tier.getNow('key:1'), undefined)
      assert.equal(tier.putNow('new', Buffer.from('value')).name, 'OK')
      assert.deepEqual(tier.getNow('new'), Buffer.from('value'))
      assert.equal(asideOf(file).length, 1, asideOf(file).join())
      assert.equal(
        tier.handler.stats()['setAsideAs'],
        `${file}.damaged-${asideOf(file)[0]!.split('.damaged-')[1]}`,
      )
      tier.close()
    })
  }

  test('that is empty, or whose folder is missing, is simply begun', () => {
    const { file } = optionsFor(temporaryFolder())
    writeFileSync(file, '')
    for (const folder of [dirname(file), `${dirname(file)}/deeper/still`]) {
      const tier = new Tier(optionsFor(folder))
      assert.equal(tier.putNow('k', Buffer.from([1])).name, 'OK')
      assert.deepEqual(asideOf(`${folder}/cache.sqlite`), [])
      tier.close()
    }
  })

  test('that is damaged again and again leaves three of its kind, the newest', () => {
    const { file } = optionsFor(temporaryFolder())
    const seen: string[] = []
    for (let i = 0; i < 5; i++) {
      writeFileSync(file, `garbage ${i} `.repeat(100))
      new Tier(optionsFor(dirname(file))).close()
      seen.push(asideOf(file).at(-1)!)
    }
    assert.deepEqual(asideOf(file), seen.slice(-3))
  })

  test('goes aside with its WAL and its shared memory', () => {
    const { file } = optionsFor(temporaryFolder())
    for (let i = 0; i < 4; i++) {
      for (const suffix of ['', '-wal', '-shm']) writeFileSync(file + suffix, `${i}`)
      assert.equal(setAside(file, i * 1_000), `${file}.damaged-1970-01-01T00-00-0${i}-000Z`)
    }
    assert.equal(asideOf(file).length, 9)
    assert.match(asideOf(file)[0]!, /00-00-01-000Z$/)
    assert.equal(setAside(file, 9_000), undefined)
  })

  test('beside a WAL of noise keeps its entries', () => {
    const file = filled()
    writeFileSync(`${file}-wal`, Buffer.concat(Array(8).fill(noise)))
    const tier = new Tier(optionsFor(dirname(file)))
    assert.deepEqual(tier.getNow('key:1'), Buffer.alloc(200, 1))
    assert.deepEqual(asideOf(file), [])
    tier.close()
  })
})

test('damage met while running: reads are misses, the file is set aside, writes go on in a new one', () => {
  const file = filled()
  const tier = new Tier(optionsFor(dirname(file), { cacheBytes: 32 * 1024 }))
  const pages = statSync(file).size / PAGE_BYTES
  for (let page = 1; page < pages; page++) overwrite(file, page * PAGE_BYTES, noise)
  const lost = tier.put('lost', Buffer.from([1]))
  for (let i = 0; i < 3_000; i += 10) tier.get(`key:${i}`)
  tier.flush()
  for (const [ticket, { name }] of tier.answers) {
    if (ticket !== lost) assert.ok(name === 'MISS' || name === 'FOUND', name)
  }
  assert.equal(tier.answer(lost).error?.code, 'UNAVAILABLE')
  assert.equal(tier.putNow('new', Buffer.from('value')).name, 'OK')
  assert.deepEqual(tier.getNow('new'), Buffer.from('value'))
  assert.equal(tier.health().state, 'ok')
  assert.ok(asideOf(file).length >= 1)
  tier.close()
})

describe('bytes overwritten within a value, where every page still makes sense,', () => {
  /** A closed file with the value, in which another program has changed some of its bytes. */
  function spoilt(value: Buffer, byte: number): string {
    const options = optionsFor(temporaryFolder())
    const tier = new Tier(options)
    tier.put('key', value)
    tier.put('other', Buffer.alloc(200, 9))
    tier.flush()
    tier.close()
    const at = readFileSync(options.file).indexOf(Buffer.alloc(64, value.at(-1)))
    assert.ok(at > 0)
    overwrite(options.file, at + 10, Buffer.from([byte]))
    return options.file
  }

  const READS: Record<string, (tier: Tier) => unknown> = {
    get: tier => tier.getNow('key'),
    getMany: tier => {
      const body = tier.answer(
        tier.sendBody(
          OPS.GET_MANY.code,
          Buffer.concat([Buffer.from([0x92]), bodyOf('other', 'key')]),
        ),
      ).body
      return body.includes(Buffer.alloc(64, 7)) ? body : undefined
    },
    'the pieces of a large one': tier => {
      const { version } = tier.largeNow('key')
      const piece = (offset: number) => tier.partNow('key', version, offset, PART_BYTES)
      return piece(0) && piece(PART_BYTES)
    },
  }
  for (const [name, read] of Object.entries(READS)) {
    const value = Buffer.alloc(name.includes('large') ? PART_BYTES + 100 : 200, 7)
    test(`are never given out: ${name} finds nothing, and the file is set aside`, () => {
      const file = spoilt(value, 8)
      const tier = new Tier(optionsFor(dirname(file)))
      assert.deepEqual(asideOf(file), [], 'nothing is seen at the start')
      assert.ok(read(tier) === undefined)
      assert.equal(asideOf(file).length, 1)
      assert.equal(tier.putNow('key', value).name, 'OK')
      tier.close()
    })
    test(`that leave it as it was are nothing to ${name}`, () => {
      const file = spoilt(value, 7)
      const tier = new Tier(optionsFor(dirname(file)))
      assert.ok(read(tier) !== undefined)
      assert.deepEqual(asideOf(file), [])
      tier.close()
    })
  }
})

test('10 000 entries are open, checked and answering within 250 ms', () => {
  const options = optionsFor(temporaryFolder())
  const first = new Tier(options)
  for (let i = 0; i < 10_000; i++) first.put(`key:${i}`, Buffer.alloc(1_000, i))
  first.flush()
  first.close()
  const startedMs = monotonicMs()
  const second = new Tier(options)
  assert.ok(second.getNow('key:9999'))
  const tookMs = monotonicMs() - startedMs
  console.log(`# opened ${statSync(options.file).size >> 20} MiB in ${tookMs.toFixed(0)} ms`)
  assert.ok(tookMs < 250, `${tookMs} ms`)
  second.close()
})
