/** build_parts: a thread's program as one file, and each thing that it imports dynamically as a file of its own.
 *  Owns:   which source goes into which bundle.   Not here: settings of esbuild, the other bundles (build.mjs).
 *  Thread: none; runs in the build.
 *  Holds:  (1) `await import('./x.ts')` in a program is a part: dist/<program>.x.cjs, read when it is first asked for. 100 KB of
 *          code cost a thread about 1 MB, wanted or not.  (2) a source that the program has already is not in a part again: the
 *          part takes it from the program, so there is one HearthError and one state of a module. Two parts share nothing
 *          but that.  (3) a program has no other dynamic imports of its sources but those and what ALWAYS lists. */

import { basename, dirname, join, relative } from 'node:path'

/** Asked for dynamically only because it may be missing, or because the other kind of worker does without: part of the program. */
const ALWAYS = new Set([
  'native-bindings/index.ts',
  'native-bindings/pipeline.ts',
  'workers/sqlite/ops.ts',
  'workers/postgres/ops.ts',
])

const SHARED = 'Symbol.for("hearth.shared")'

/** Builds dist/<name>.cjs from `entry` and its parts beside it. Returns the paths of all that went into them. */
export async function bundleProgram(
  esbuild,
  options,
  { root, dist, name, entry, isDefault = false },
) {
  const found = new Map()
  const program = await esbuild.build({
    ...options,
    entryPoints: [join(root, entry)],
    write: false,
    plugins: [...options.plugins, dynamicImportsAreParts(root, name, found)],
  })
  const sources = new Set(Object.keys(program.metafile.inputs).filter(path => path.endsWith('.ts')))
  const shared = new Set()
  const inputs = Object.keys(program.metafile.inputs)
  // A part may have parts, which are found while it is built.
  for (const [path, outfile] of found) {
    const part = await esbuild.build({
      ...options,
      entryPoints: [path],
      outfile: join(dist, outfile),
      plugins: [
        ...options.plugins,
        dynamicImportsAreParts(root, name, found),
        takesFromProgram(root, sources, shared),
      ],
    })
    inputs.push(...Object.keys(part.metafile.inputs))
  }
  await esbuild.build({
    ...options,
    stdin: {
      contents: programText(entry, isDefault),
      resolveDir: root,
      sourcefile: `${name}.program.js`,
    },
    outfile: join(dist, `${name}.cjs`),
    plugins: [
      ...options.plugins,
      dynamicImportsAreParts(root, name, found),
      givesToParts(root, shared),
    ],
  })
  return inputs.filter(path => !path.startsWith('shared:'))
}

/** What is given to the parts is set before anything of the program runs. */
function programText(entry, isDefault) {
  return `import 'given-to-parts'\nexport ${isDefault ? '{ default }' : '*'} from './${entry}'\n`
}

function dynamicImportsAreParts(root, name, found) {
  return {
    name: 'dynamic-imports-are-parts',
    setup(build) {
      build.onResolve({ filter: /^\.\.?\/.*\.ts$/ }, ({ kind, path, resolveDir }) => {
        if (kind !== 'dynamic-import') return undefined
        const file = join(resolveDir, path)
        const source = relative(root, file)
        if (ALWAYS.has(source)) return undefined
        const outfile = `${name}.${partName(source)}.cjs`
        found.set(file, outfile)
        return { path: `./${outfile}`, external: true }
      })
    },
  }
}

/** `workers/postgres/copy.ts` → `postgres_copy`: short, and no two alike. */
function partName(source) {
  const folder = basename(dirname(source))
  return `${folder}_${basename(source, '.ts')}`
}

/** In a part: a source of the program's is not bundled but asked of it. */
function takesFromProgram(root, sources, shared) {
  return {
    name: 'takes-from-program',
    setup(build) {
      build.onResolve({ filter: /^\.\.?\/.*\.ts$/ }, ({ kind, path, resolveDir }) => {
        if (kind !== 'import-statement') return undefined
        const source = relative(root, join(resolveDir, path))
        if (!sources.has(source)) return undefined
        shared.add(source)
        return { path: source, namespace: 'shared' }
      })
      build.onLoad({ filter: /.*/, namespace: 'shared' }, ({ path }) => ({
        contents: `module.exports = globalThis[${SHARED}][${JSON.stringify(path)}]`,
      }))
    },
  }
}

function givesToParts(root, shared) {
  const sources = [...shared].sort()
  const imports = sources.map((source, at) => `import * as s${at} from './${source}'`)
  const rows = sources.map((source, at) => `${JSON.stringify(source)}: s${at}`)
  const contents = `${imports.join('\n')}\nglobalThis[${SHARED}] = { ${rows.join(', ')} }\n`
  return {
    name: 'gives-to-parts',
    setup(build) {
      build.onResolve({ filter: /^given-to-parts$/ }, ({ path }) => ({ path, namespace: 'given' }))
      build.onLoad({ filter: /.*/, namespace: 'given' }, () => ({ contents, resolveDir: root }))
    },
  }
}
