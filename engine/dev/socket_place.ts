/** Socket place: where the dev engine listens: `.hearth/hearth.sock`, or a short path that it is a link to.
 *  Owns:   that link and the short folder.   Thread: main.
 *  Holds:  the engine's path fits into a socket address; clients in the project folder reach it as `.hearth/hearth.sock`. */

import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SOCKET_NAME } from '../config/socket_path.ts'
import { SOCKET_PATH_BYTES_MAX } from './postgres_places.ts'

export function placeSocket(stateDir: string): { path: string; release(): void } {
  const beside = join(stateDir, SOCKET_NAME)
  if (Buffer.byteLength(beside) <= SOCKET_PATH_BYTES_MAX) {
    return { path: beside, release: () => undefined }
  }
  const folder = mkdtempSync(join(tmpdir(), 'hearth-dev-')) // 0700: only we get at what is in it
  const path = join(folder, SOCKET_NAME)
  rmSync(beside, { force: true })
  symlinkSync(path, beside)
  return {
    path,
    release: () => {
      rmSync(beside, { force: true })
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
