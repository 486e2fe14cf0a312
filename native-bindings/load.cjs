'use strict'
/** load: finds hearth.node and loads it into this thread.
 *  Owns:   this thread's copy of the addon's exports.
 *  Thread: any number of them, each for itself.
 *  Holds:  works from the source tree, from a bundle in dist/ beside native-bindings/, and inside anybody's node_modules:
 *          it goes up from where it stands until it meets the folder native-bindings. */
// Not require(): in a bundle that is an ES module there is none.
const { existsSync } = process.getBuiltinModule('node:fs')
const { dirname, join, resolve } = process.getBuiltinModule('node:path')

const LEVELS_MAX = 5

let loaded

/** The addon's exports; `from` is the caller's folder where the module system gives no __dirname. */
function loadNative(from) {
  loaded ??= openFirst(bindingFolder(from))
  return loaded
}

/** The folder native-bindings of this installation. */
function bindingFolder(from) {
  const start =
    from ?? (typeof __dirname === 'string' ? __dirname : dirname(process.argv[1] ?? '.'))
  let folder = resolve(start)
  for (let level = 0; level < LEVELS_MAX; level++) {
    const beside = join(folder, 'native-bindings')
    if (existsSync(join(beside, 'build.mjs'))) return beside
    folder = dirname(folder)
  }
  throw new Error(
    `hearth: no folder native-bindings above ${start}; the installation is incomplete`,
  )
}

function openFirst(folder) {
  const places = [
    join(folder, 'build', 'hearth.node'),
    join(folder, 'prebuilds', `${process.platform}-${process.arch}`, 'hearth.node'),
  ]
  const reasons = []
  for (const place of places) {
    if (!existsSync(place)) {
      reasons.push(`${place}: not there`)
      continue
    }
    const module = { exports: {} }
    try {
      process.dlopen(module, place) // and not require(): a bundler leaves this alone
      return module.exports
    } catch (error) {
      reasons.push(`${place}: ${error.message}`)
    }
  }
  throw new Error(
    'hearth: the native binding could not be loaded. Build it with `npm run build` (it needs a C compiler, e.g. ' +
      `\`apt install gcc libc6-dev\`).\n  ${reasons.join('\n  ')}`,
  )
}

module.exports = { loadNative, bindingFolder }
