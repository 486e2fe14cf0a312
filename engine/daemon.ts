/** daemon: `hearth serve`: the engine as a process of its own, under systemd or in a terminal.
 *  Owns:   signals, and what the service manager is told.   Not here: the engine itself (main.ts).
 *  Thread: main.
 *  Holds:  (1) READY=1 is said once requests are answered.  (2) SIGTERM and SIGINT finish what is in flight and exit with 0
 *          within five seconds.  (3) SIGHUP applies what can change and says what cannot.
 *
 *  Started by cli/hearth.cjs with V8 and malloc settled for a small process: see there. */

import { parseArgs } from 'node:util'
import { type LoadedConfig, loadConfig } from './config/load.ts'
import { diffReload } from './config/reload.ts'
import { isHearthError } from './errors.ts'
import { log } from './log.ts'
import { Engine } from './main.ts'
import { loadNative, type Native } from './native.ts'

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { config: { type: 'string' }, json: { type: 'boolean' } },
  })
  const native = await loadNative()
  let loaded = loadConfig({ file: values.config })
  for (const warning of loaded.warnings) log('warn', warning)
  const engine = await Engine.start(loaded.config)
  log('info', 'ready', {
    socket: engine.socketPath,
    config: loaded.file ?? 'defaults',
    pid: process.pid,
  })
  notify(native, 'READY=1')

  let isStopping = false
  const stop = async (signal: string) => {
    if (isStopping) return
    isStopping = true
    notify(native, 'STOPPING=1')
    log('info', 'stopping', { signal })
    await engine.close()
    log('info', 'stopped')
    process.exit(0)
  }
  process.on('SIGTERM', () => void stop('SIGTERM'))
  process.on('SIGINT', () => void stop('SIGINT'))
  process.on('SIGHUP', () => {
    loaded = reload(engine, loaded, values.config)
  })
}

/** Reads the configuration again; a wrong one is reported and changes nothing. */
function reload(engine: Engine, current: LoadedConfig, file: string | undefined): LoadedConfig {
  try {
    const next = loadConfig({ file })
    const { changed, needsRestart } = diffReload(current.config, next.config)
    engine.reload(next.config)
    log('info', 'configuration reloaded', {
      changed: changed.map(({ key }) => key),
      needsRestart: needsRestart.map(({ key }) => key),
    })
    return next
  } catch (error) {
    log('error', 'configuration not reloaded', { error: (error as Error).message })
    return current
  }
}

function notify(native: Native | undefined, state: string): void {
  try {
    native?.notifySystemd(state)
  } catch (error) {
    log('warn', 'the service manager cannot be told', { state, error: (error as Error).message })
  }
}

main().catch((error: Error) => {
  // A refused start is the operator's to mend: words for people, not a stack.
  process.stderr.write(
    `hearth: ${isHearthError(error) ? `${error.code}: ${error.message}` : error.stack}\n`,
  )
  process.exit(1)
})
