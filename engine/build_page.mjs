/** build_page: the page at `GET /` as the files that a browser asks for.
 *  Owns:   dist/page/.   Not here: what they are served with (observe/page/page.ts).
 *  Thread: none; runs in the build.
 *  Holds:  a file whose content is as it was keeps its time, and with it its ETag. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const SOURCE = 'engine/observe/page/browser'

/** Returns the paths of all that went into it. */
export async function bundlePage(esbuild, { root, dist }) {
  const outdir = join(dist, 'page')
  mkdirSync(outdir, { recursive: true })
  const { outputFiles, metafile } = await esbuild.build({
    absWorkingDir: root,
    entryPoints: ['engine/observe/page/browser/page.ts', 'engine/observe/page/browser/page.css'],
    outdir,
    bundle: true,
    write: false,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: ['es2022'],
    legalComments: 'none', // LICENSES.txt has them.
    metafile: true,
    logLevel: 'warning',
  })
  for (const { path, contents } of outputFiles) writeIfNew(path, Buffer.from(contents))
  for (const name of ['index.html', 'icon.svg'])
    writeIfNew(join(outdir, name), readFileSync(join(root, SOURCE, name)))
  return Object.keys(metafile.inputs)
}

function writeIfNew(path, content) {
  try {
    if (readFileSync(path).equals(content)) return
  } catch {
    // It is not there yet.
  }
  writeFileSync(path, content)
}
