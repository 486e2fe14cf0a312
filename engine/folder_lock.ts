/** Folder lock: one holder of a folder for a purpose: one engine a state directory, one `hearth dev` a project.
 *  Owns:   a name in the kernel, as long as this process lives.   Thread: main.
 *  Holds:  (1) two never hold one folder, whatever was killed before: an abstract socket leaves no file that could be stale.
 *          (2) who is refused learns the holder's pid. */

import { realpathSync } from 'node:fs'
import net from 'node:net'
import { HearthError } from './errors.ts'
import { nameHash } from './hash.ts'

const ANSWER_MS_MAX = 500

/** Takes the lock of an existing folder; resolves with its release. Rejects with BUSY, in the words of `refusal`, when
 *  another process has it; `holder` is its pid in brackets, or empty. */
export async function lockFolder(
  folder: string,
  purpose: string,
  refusal: (holder: string) => string,
): Promise<() => void> {
  const name = lockName(folder, purpose)
  const server = net.createServer(socket => {
    socket.on('error', () => undefined)
    socket.end(String(process.pid))
  })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen(name, resolve)
  server.unref()
  try {
    await promise
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    const pid = await askHolder(name)
    throw new HearthError('BUSY', refusal(pid === '' ? '' : ` (pid ${pid})`))
  }
  return () => server.close()
}

function lockName(folder: string, purpose: string): string {
  return `\0hearth-${purpose}-${process.getuid?.()}-${nameHash(realpathSync(folder))}`
}

function askHolder(name: string): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>()
  let answer = ''
  const socket = net.connect(name)
  socket.setTimeout(ANSWER_MS_MAX, () => socket.destroy())
  socket.on('data', bytes => {
    answer += bytes.toString('latin1')
  })
  socket.on('error', () => undefined)
  socket.on('close', () => resolve(/^\d+$/.test(answer) ? answer : ''))
  return promise
}
