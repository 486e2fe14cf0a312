/** 20: files as shared memory: what one process writes another reads in place.
 *  Owns: a folder in /dev/shm.   Thread: main, and children.   Holds: nothing of it outlives the file. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { mapFile, mapFileReadOnly, unmapFile } from '../native-bindings/index.ts'

const folder = mkdtempSync('/dev/shm/hearth-map-')
after(() => rmSync(folder, { recursive: true, force: true }))
const INDEX = join(import.meta.dirname, '../native-bindings/index.ts')

test('a byte written through a mapping is read by another mapping and by another process', () => {
  const path = join(folder, 'shared')
  const bytes = new Uint8Array(mapFile(path, 8192))
  assert.equal(bytes.length, 8192)
  assert.ok(bytes.every(byte => byte === 0))
  bytes.set([1, 2, 3], 4096)
  const read = new Uint8Array(mapFileReadOnly(path))
  assert.deepEqual([...read.subarray(4096, 4099)], [1, 2, 3])
  bytes[4096] = 77
  assert.equal(read[4096], 77)
  const script = `
    import { mapFileReadOnly } from ${JSON.stringify(INDEX)}
    console.log(new Uint8Array(mapFileReadOnly(${JSON.stringify(path)}))[4096])`
  const said = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
  })
  assert.equal(said.trim(), '77')
})

test('a worker that maps the file sees the writes of main, and ends without taking the mapping along', async () => {
  const path = join(folder, 'worker')
  const words = new Int32Array(mapFile(path, 4096))
  words[0] = 41
  const script = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(workerData.index).then(({ mapFileReadOnly }) => {
      const words = new Int32Array(mapFileReadOnly(workerData.path))
      parentPort.on('message', () => { parentPort.postMessage(words[0]); parentPort.close() })
      parentPort.postMessage(words[0])
    })`
  const worker = new Worker(script, { eval: true, workerData: { index: INDEX, path } })
  assert.equal(await message(worker), 41)
  words[0] = 42
  const exit = new Promise(resolve => worker.once('exit', resolve)) // may come with the message
  worker.postMessage('again')
  assert.equal(await message(worker), 42)
  await exit
  assert.equal(words[0], 42)
})

test('the mode of the new file is exact, whatever the umask says', () => {
  const umask = process.umask(0o077)
  try {
    mapFile(join(folder, 'mode'), 1, { mode: 0o644 })
    mapFile(join(folder, 'default'), 1)
  } finally {
    process.umask(umask)
  }
  assert.equal(statSync(join(folder, 'mode')).mode & 0o7777, 0o644)
  assert.equal(statSync(join(folder, 'default')).mode & 0o7777, 0o600)
})

test('a taken path is EEXIST, and what is there stays as it is', () => {
  const path = join(folder, 'taken')
  writeFileSync(path, 'precious')
  assert.throws(() => mapFile(path, 10), { code: 'EEXIST', syscall: 'map', path })
  assert.equal(readFileSync(path, 'utf8'), 'precious')
})

test('symbolic links are refused on both sides', () => {
  const target = join(folder, 'target')
  const link = join(folder, 'link')
  writeFileSync(target, 'x')
  symlinkSync(target, link)
  assert.throws(() => mapFileReadOnly(link), { code: 'ELOOP' })
  assert.throws(() => mapFile(link, 10), { code: 'EEXIST' })
})

test('a missing file, an empty one, a folder and a FIFO are coded errors and never hang', () => {
  writeFileSync(join(folder, 'empty'), '')
  execFileSync('mkfifo', [join(folder, 'fifo')])
  assert.throws(() => mapFileReadOnly(join(folder, 'nowhere')), { code: 'ENOENT', errno: -2 })
  assert.throws(() => mapFileReadOnly(join(folder, 'empty')), { code: 'EINVAL' })
  assert.throws(() => mapFileReadOnly(folder), { code: 'EINVAL' })
  assert.throws(() => mapFileReadOnly(join(folder, 'fifo')), { code: 'EINVAL' })
})

test('sizes and paths of the wrong kind are the caller’s bug', () => {
  for (const bytes of [0, -1, 1.5, Number.NaN, 2 ** 60]) {
    assert.throws(() => mapFile(join(folder, 'wrong'), bytes), RangeError)
  }
  assert.throws(() => mapFile(7 as unknown as string, 1), TypeError)
  assert.throws(() => mapFile(join(folder, 'nul\0byte'), 1), TypeError)
  assert.equal(existsSync(join(folder, 'wrong')), false)
})

test('a file that does not fit is ENOSPC at once, and no file is left', () => {
  const path = join(folder, 'huge')
  // More than the file system's whole size is refused before anything is allocated; less might fill the machine first.
  const { blocks, bsize } = statfsSync(folder)
  assert.throws(() => mapFile(path, (blocks + 1_000) * bsize), { code: 'ENOSPC' })
  assert.equal(existsSync(path), false)
})

test('an unmapped buffer is empty, its views too, and the memory is gone from the process', async () => {
  const path = join(folder, 'unmap')
  const buffer = mapFile(path, 65_536)
  const view = new Uint8Array(buffer)
  assert.ok(readFileSync('/proc/self/maps', 'utf8').includes(path))
  unmapFile(buffer)
  assert.equal(buffer.byteLength, 0)
  assert.equal(view.length, 0)
  await sleep(20)
  assert.equal(readFileSync('/proc/self/maps', 'utf8').includes(path), false)
  assert.throws(() => unmapFile({} as ArrayBuffer), /array ?buffer/i)
})

test('a write through a read-only mapping kills the writer and changes nothing', () => {
  const path = join(folder, 'protected')
  const bytes = new Uint8Array(mapFile(path, 4096, { mode: 0o644 }))
  const script = `
    import { mapFileReadOnly } from ${JSON.stringify(INDEX)}
    new Uint8Array(mapFileReadOnly(${JSON.stringify(path)}))[0] = 1`
  assert.throws(
    () => execFileSync(process.execPath, ['--input-type=module', '-e', script], { stdio: 'pipe' }),
    (error: { signal?: string }) => error.signal === 'SIGSEGV',
  )
  assert.equal(bytes[0], 0)
})

test('a mapping is not transferred to another thread', () => {
  const buffer = mapFile(join(folder, 'transfer'), 16)
  assert.throws(() => structuredClone(buffer, { transfer: [buffer] }), { name: 'DataCloneError' })
  assert.equal(buffer.byteLength, 16)
})

test('mapping leaves no descriptor open', () => {
  // Those of the folder alone: the test runner opens and closes others meanwhile.
  const count = () =>
    readdirSync('/proc/self/fd').filter(fd => linkOf(fd).startsWith(folder)).length
  const before = count()
  for (let i = 0; i < 20; i++) mapFileReadOnly(join(folder, 'shared'))
  assert.throws(() => mapFileReadOnly(folder))
  assert.equal(count(), before)
})

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return '' // It was the descriptor of the listing itself.
  }
}

function message(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
}
