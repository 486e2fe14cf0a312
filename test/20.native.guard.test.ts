/** 20: the guard, a word in a shared file that tells any reader that its holder is gone.
 *  Owns: a folder in /dev/shm.   Thread: main, and children.   Holds: nothing of it outlives the file. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { GUARD_OWNER_DIED } from '../engine/cache/segment.ts'
import { holdGuard, mapFile, mapFileReadOnly, mapFileWritable } from '../native-bindings/index.ts'

const folder = mkdtempSync('/dev/shm/hearth-guard-')
after(() => rmSync(folder, { recursive: true, force: true }))
const INDEX = join(import.meta.dirname, '../native-bindings/index.ts')
const AT = 128

function newFile(name: string): string {
  const path = join(folder, name)
  mapFile(path, 4096)
  return path
}

test('the word is the holder’s thread id while it is held, and 0 after the release', () => {
  const path = newFile('held')
  const words = new Int32Array(mapFileReadOnly(path))
  const guard = holdGuard(path, AT)
  assert.ok(guard.wordAt >= AT && guard.wordAt < AT + 64)
  assert.equal(words[guard.wordAt >> 2], process.pid, 'main’s thread id is the process’s')
  guard.release()
  assert.equal(words[guard.wordAt >> 2], 0)
  guard.release()
})

test('many guards of one thread are released in any order', () => {
  const paths = Array.from({ length: 20 }, (_, i) => newFile(`many-${i}`))
  const guards = paths.map(path => holdGuard(path, AT))
  const words = paths.map(path => new Int32Array(mapFileReadOnly(path)))
  for (const i of [3, 0, 19, 7, 8, 6]) {
    guards[i]!.release()
    assert.equal(words[i]![guards[i]!.wordAt >> 2], 0)
  }
  assert.equal(words[5]![guards[5]!.wordAt >> 2], process.pid)
  for (const guard of guards) guard.release()
})

/** A child that holds a guard of the file and says where; then it does what `then` says. */
async function holder(path: string, then = ''): Promise<{ child: ChildProcess; word: number }> {
  const script = `
    import { holdGuard } from ${JSON.stringify(INDEX)}
    globalThis.guard = holdGuard(${JSON.stringify(path)}, ${AT})
    process.stdout.write(String(guard.wordAt))
    const life = setInterval(() => {}, 1_000)
    ${then}`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const wordAt = await new Promise<number>(resolve =>
    child.stdout!.once('data', data => resolve(Number(data))),
  )
  return { child, word: wordAt >> 2 }
}

test('a killed holder’s word tells it before the end of its descriptors is seen', async () => {
  for (let i = 0; i < 5; i++) {
    const path = newFile(`killed-${i}`)
    const words = new Int32Array(mapFileReadOnly(path))
    const { child, word } = await holder(path)
    assert.equal(words[word], child.pid)
    const end = new Promise<number>(resolve =>
      child.stdout!.once('close', () => resolve(Atomics.load(words, word))),
    )
    child.kill('SIGKILL')
    assert.equal((await end) & GUARD_OWNER_DIED, GUARD_OWNER_DIED)
  }
})

for (const [how, then] of [
  ['leaves by process.exit()', 'process.exit()'],
  ['aborts', 'process.abort()'],
  ['has nothing left to do', 'clearInterval(life)'],
] as const) {
  test(`a holder that ${how} is seen to be gone`, async () => {
    const path = newFile(`ends-${how.replaceAll(/\W/g, '-')}`)
    const words = new Int32Array(mapFileReadOnly(path))
    const { child, word } = await holder(path, `setTimeout(() => { ${then} }, 50)`)
    const pid = child.pid
    if (child.exitCode === null && child.signalCode === null)
      await new Promise(resolve => child.once('exit', resolve))
    const value = words[word]!
    assert.ok(value !== pid && (value === 0 || (value & GUARD_OWNER_DIED) !== 0), `${value}`)
  })
}

test('a thread’s guard ends with the thread, while the process lives', async () => {
  const path = newFile('thread')
  const words = new Int32Array(mapFileReadOnly(path))
  const script = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(workerData.index).then(({ holdGuard }) => {
      globalThis.guard = holdGuard(workerData.path, ${AT})
      parentPort.on('message', () => process.exit())
      parentPort.postMessage(guard.wordAt)
    })`
  const worker = new Worker(script, { eval: true, workerData: { index: INDEX, path } })
  const wordAt = await new Promise<number>((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
  const held = words[wordAt >> 2]!
  assert.ok(held !== 0 && held !== process.pid, 'the thread’s own id')
  worker.postMessage('end')
  await new Promise(resolve => worker.once('exit', resolve))
  const value = words[wordAt >> 2]!
  assert.ok(value === 0 || (value & GUARD_OWNER_DIED) !== 0)
})

test('a link, a short file, a wrong place and no file are coded errors', () => {
  const path = newFile('good')
  const link = join(folder, 'link')
  symlinkSync(path, link)
  writeFileSync(join(folder, 'short'), 'x')
  assert.throws(() => holdGuard(link, AT), { code: 'ELOOP', syscall: 'guard' })
  assert.throws(() => holdGuard(join(folder, 'short'), AT), { code: 'EINVAL' })
  assert.throws(() => holdGuard(path, AT + 4), { code: 'EINVAL' })
  assert.throws(() => holdGuard(join(folder, 'none'), AT), { code: 'ENOENT' })
  assert.throws(() => holdGuard(7 as unknown as string, AT), TypeError)
})

test('a file of another owner is refused, and one of the right owner maps writable', () => {
  const path = newFile('owned')
  const own = process.geteuid!()
  assert.throws(() => mapFileReadOnly(path, own + 1), { code: 'EPERM', path })
  assert.throws(() => mapFileWritable(path, own + 1), { code: 'EPERM' })
  new Uint8Array(mapFileWritable(path, own))[9] = 5
  assert.equal(new Uint8Array(mapFileReadOnly(path, own))[9], 5)
})
