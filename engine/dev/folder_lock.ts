/** Folder lock: one `hearth dev` a folder.
 *  Owns:   a name in the kernel, as long as this process lives.   Thread: main.
 *  Holds:  (1) two never hold one folder, whatever was killed before: an abstract socket leaves no file that could be stale.
 *          (2) who is refused learns the holder's pid. */

import { createHash } from 'node:crypto'
import { realpathSync } from 'node:fs'
import net from 'node:net'
import { HearthError } from '../errors.ts'

const ANSWER_MS_MAX = 500

/** Takes the lock; resolves with its release. Rejects with BUSY when another process has it. */
export async function lockFolder(folder: string): Promise<() => void> {
  const name = lockName(folder)
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
    throw new HearthError(
      'BUSY',
      `\`hearth dev\` already runs in ${folder}${pid === '' ? '' : ` (pid ${pid})`}: ` +
        'use that one, stop it, or start in another folder',
    )
  }
  return () => server.close()
}

function lockName(folder: string): string {
  const hash = createHash('sha256').update(realpathSync(folder)).digest('hex').slice(0, 32)
  return `\0hearth-dev-${process.getuid?.()}-${hash}`
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
