/** daemon: `hearth serve`: the engine as a process of its own, under systemd or in a terminal.
 *  Owns:   signals, and when the service manager is told what.   Not here: the engine itself (main.ts), how it is told
 *          (service_manager.ts).
 *  Thread: main.
 *  Holds:  (1) READY=1 is said once requests are answered.  (2) SIGTERM and SIGINT finish what is in flight and exit with 0
 *          within STOP_MS_MAX.  (3) SIGHUP applies what can change and says what cannot; RELOADING=1 comes before, READY=1 after.
 *
 *  Started by cli/hearth.cjs with V8 and malloc settled for a small process: see there. */

import { parseArgs } from 'node:util'
import { loadConfig } from './config/load.ts'
import { diffReload } from './config/reload.ts'
import { isHearthError } from './errors.ts'
import { log } from './log.ts'
import { Engine } from './main.ts'
import { loadNative } from './native.ts'
import { takeHeldSocket } from './server/held_socket.ts'
import { ServiceManager } from './service_manager.ts'

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { config: { type: 'string' }, json: { type: 'boolean' } },
  })
  const native = await loadNative()
  const held = takeHeldSocket(process.env, native)
  const manager = new ServiceManager(process.env, native)
  let loaded = loadConfig({ file: values.config })
  const started = loaded.config
  for (const warning of loaded.warnings) log('warn', warning)
  const engine = await Engine.start(loaded.config, held)
  log('info', 'ready', {
    socket: engine.socketPath,
    config: loaded.file ?? 'defaults',
    pid: process.pid,
  })
  const status = () => `serving ${clients(engine.clientCount)} on ${engine.socketPath}`

  let isStopping = false
  const stop = async (signal: string) => {
    if (isStopping) return
    isStopping = true
    manager.stopping()
    manager.unwatch()
    log('info', 'stopping', { signal })
    await engine.close()
    log('info', 'stopped')
    process.exit(0)
  }
  process.on('SIGTERM', () => void stop('SIGTERM'))
  process.on('SIGINT', () => void stop('SIGINT'))
  process.on('SIGHUP', () => {
    if (isStopping) return
    manager.reloading()
    const problem = reload()
    manager.ready(problem === undefined ? status() : `configuration not reloaded: ${problem}`)
  })

  // Not before signals are taken: whoever hears it may send one at once.
  manager.ready(status())
  manager.watch({ workersAnswer: ms => engine.workersAnswer(ms), status })

  /** Reads the configuration again; a wrong one is reported and changes nothing. */
  function reload(): string | undefined {
    try {
      const next = loadConfig({ file: values.config })
      const { changed } = diffReload(loaded.config, next.config)
      // Not since the last reload: what that one could not take over still waits.
      const { needsRestart } = diffReload(started, next.config)
      engine.reload(next.config)
      log('info', 'configuration reloaded', {
        changed: changed.map(({ key }) => key),
        needsRestart: needsRestart.map(({ key }) => key),
      })
      loaded = next
      return undefined
    } catch (error) {
      const { message } = error as Error
      log('error', 'configuration not reloaded', { error: message })
      return message
    }
  }
}

function clients(count: number): string {
  return count === 1 ? '1 client' : `${count} clients`
}

main().catch((error: Error) => {
  // A refused start is the operator's to mend: words for people, not a stack.
  process.stderr.write(
    `hearth: ${isHearthError(error) ? `${error.code}: ${error.message}` : error.stack}\n`,
  )
  process.exit(1)
})
