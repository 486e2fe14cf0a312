/** Folder lock: one holder of a folder for a purpose: one engine a state directory, one `hearth dev` a project.
 *  Owns:   a name in the kernel, as long as this process lives.   Thread: main.
 *  Holds:  (1) two never hold one folder, whatever was killed before: an abstract socket leaves no file that could be stale.
 *          (2) who is refused learns the holder's pid.  (3) a holder that is about to go is waited for, a while. */

import { realpathSync } from 'node:fs'
import net from 'node:net'
import { monotonicMs } from './clock.ts'
import { HearthError } from './errors.ts'
import { nameHash } from './hash.ts'

const ANSWER_MS_MAX = 500
/** Longer than an engine takes to stop. */
const LEAVING_MS_MAX = 10_000
const RETRY_MS = 20
const LEAVING = 'leaving'

/** Takes the lock of an existing folder; resolves with its release. Rejects with BUSY, in the words of `refusal`, when
 *  another process has it; `holder` is its pid in brackets, or empty. `isLeaving` tells whoever asks that this holder is on its
 *  way out: the next one then waits, for ten seconds at most, instead of failing. */
export async function lockFolder(
  folder: string,
  purpose: string,
  refusal: (holder: string) => string,
  isLeaving = () => false,
): Promise<() => void> {
  const name = lockName(folder, purpose)
  const deadlineMs = monotonicMs() + LEAVING_MS_MAX
  for (;;) {
    try {
      return await take(name, isLeaving)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    }
    const holder = await askHolder(name)
    if (!holder.isLeaving || monotonicMs() > deadlineMs)
      throw new HearthError('BUSY', refusal(holder.pid === '' ? '' : ` (pid ${holder.pid})`))
    await new Promise(resolve => setTimeout(resolve, RETRY_MS))
  }
}

async function take(name: string, isLeaving: () => boolean): Promise<() => void> {
  const server = net.createServer(socket => {
    socket.on('error', () => undefined)
    socket.end(isLeaving() ? `${process.pid} ${LEAVING}` : String(process.pid))
  })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen(name, resolve)
  server.unref()
  await promise
  return () => server.close()
}

function lockName(folder: string, purpose: string): string {
  return `\0hearth-${purpose}-${process.getuid?.()}-${nameHash(realpathSync(folder))}`
}

function askHolder(name: string): Promise<{ pid: string; isLeaving: boolean }> {
  const { promise, resolve } = Promise.withResolvers<{ pid: string; isLeaving: boolean }>()
  let answer = ''
  let isSilent = false
  const socket = net.connect(name)
  socket.setTimeout(ANSWER_MS_MAX, () => {
    isSilent = true
    socket.destroy()
  })
  socket.on('data', bytes => {
    answer += bytes.toString('latin1')
  })
  socket.on('error', () => undefined)
  socket.on('close', () => {
    const [pid = '', word] = answer.split(' ')
    const isKnown = /^\d+$/.test(pid)
    // One that ended instead of answering has left the name free.
    resolve({ pid: isKnown ? pid : '', isLeaving: word === LEAVING || !(isKnown || isSilent) })
  })
  return promise
}
