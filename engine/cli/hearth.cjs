#!/usr/bin/env node
/** hearth: the command as it is found on the PATH. Whatever Node starts it, the pinned one goes on.
 *  Owns:   which runtime and which flags.   Thread: none yet.
 *  Holds:  plain JavaScript that old Nodes can read. `serve` becomes the daemon in this very process (execve), so its pid is
 *          the one systemd knows; where the running Node cannot do that, a child is started and signals are passed on;
 *          HEARTH_DEV_PARENT then tells `dev` to end with this process, however it ends. */
'use strict'

const { existsSync } = require('node:fs')
const { join } = require('node:path')

const NODE_MAJOR_MIN = 22
/** The first descriptor that systemd hands over. */
const HELD_FD = 3

const root = join(__dirname, '..', '..')
const [command, ...rest] = process.argv.slice(2)
if (command === 'serve' && isPlainServe(rest)) {
  become(flagsFor(bundleOr('daemon.cjs', 'daemon.ts')), rest, mallocSettings())
} else if (isNodeNewEnough()) {
  import(bundleOr('cli.mjs', 'cli/main.ts'))
} else {
  become([bundleOr('cli.mjs', 'cli/main.ts')], process.argv.slice(2), {})
}

/** Anything else, such as `--help` or a mistake, is answered by the CLI, which knows the table of commands. */
function isPlainServe(args) {
  for (let at = 0; at < args.length; at++) {
    if (args[at] === '--json' || /^--config=./.test(args[at])) continue
    if (args[at] === '--config' && at + 1 < args.length && !args[at + 1].startsWith('-')) at++
    else return false
  }
  return true
}

/** V8 for a small process: libraries are not what is large, V8's own defaults are. Why each: engine/README.md, Memory. */
function flagsFor(entry) {
  return [
    '--max-semi-space-size=1',
    '--max-old-space-size=64',
    '--optimize-for-size',
    '--no-node-snapshot',
    // The two middle compilers and the helpers' threads: 6 MB less at the peak, the same speed once warm.
    '--no-maglev',
    '--no-sparkplug',
    '--v8-pool-size=1',
    // Less inlining, and bytecode that one collection found unused goes: 2 MB more at the peak.
    '--max-inlined-bytecode-size-cumulative=200',
    '--bytecode-old-age=1',
    '--max-lazy',
    '--expose-gc',
    entry,
  ]
}

/** malloc for a process with several threads that give back what they do not use. */
function mallocSettings() {
  return { MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: '65536', MALLOC_TOP_PAD_: '16384' }
}

function bundleOr(bundle, source) {
  const bundled = join(root, 'dist', bundle)
  return existsSync(bundled) ? bundled : join(root, 'engine', source)
}

/** The pinned runtime where it is installed, else the one that runs this. */
function runtime() {
  try {
    return require.resolve(`node-linux-${process.arch}/bin/node`, { paths: [root] })
  } catch {
    return process.execPath
  }
}

function isNodeNewEnough() {
  return Number(process.versions.node.split('.')[0]) >= NODE_MAJOR_MIN
}

function become(flags, args, env) {
  const node = runtime()
  if (node === process.execPath && !isNodeNewEnough()) {
    console.error(
      `hearth: this is Node ${process.version}, and Node ${NODE_MAJOR_MIN} or newer is needed: install ` +
        'without --omit=optional, which brings the pinned runtime, or use a newer Node.',
    )
    process.exit(1)
  }
  const argv = [...flags, ...args]
  const environment = { ...env, ...process.env }
  if (typeof process.execve === 'function') {
    keepHeldSockets()
    process.execve(node, [node, ...argv], environment)
  }
  const child = require('node:child_process').spawn(node, argv, {
    stdio: 'inherit',
    env: { ...environment, HEARTH_DEV_PARENT: String(process.pid) },
  })
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => process.exit(code ?? (signal === null ? 1 : 128)))
}

/** Node marks every descriptor it was given to be closed by execve: the sockets that systemd holds for us must not be. */
function keepHeldSockets() {
  if (process.env.LISTEN_PID !== String(process.pid)) return
  const binding = { exports: {} }
  const folder = join(root, 'native-bindings')
  const places = ['build', join('prebuilds', `${process.platform}-${process.arch}`)]
  const place = places.map(each => join(folder, each, 'hearth.node')).find(existsSync)
  try {
    if (place === undefined) throw new Error(`there is none in ${folder}`)
    process.dlopen(binding, place)
  } catch (error) {
    console.error(`hearth: the sockets of systemd need the native binding: ${error.message}`)
    process.exit(1)
  }
  const count = Number(process.env.LISTEN_FDS) || 0
  for (let fd = HELD_FD; fd < HELD_FD + count; fd++) binding.exports.keepDescriptor(fd)
}
