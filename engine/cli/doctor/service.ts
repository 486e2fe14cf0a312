/** service: the engine that should be running here: whether it is, how it is, and whether systemd starts this install.
 *  Owns:   the checks `engine`, `lock` and `systemd`.   Thread: main.
 *  Holds:  an engine that runs is asked, never disturbed. */

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { connect } from '../../client/index.ts'
import { isHearthError } from '../../errors.ts'
import type { Health } from '../../figures.ts'
import { lockFolder } from '../../folder_lock.ts'
import { PACKAGE_ROOT } from '../../paths.ts'
import { type Check, type Finding, fail, ok, type ReadPatient, warn } from './finding.ts'

const ANSWER_MS_MAX = 2_000
const UNIT = 'etc/systemd/system/hearth.service'

export const engine: Check = {
  name: 'engine',
  needsConfig: true,
  async run(patient) {
    const { socket } = patient.loaded.config.engine
    const health = await healthOf(socket)
    if (!(health instanceof Error)) return healthFindings(health, socket)
    const isThere = existsSync(socket)
    if (isHearthError(health) && health.code === 'FORBIDDEN')
      return [fail(`${socket}: ${health.message}`, 'add this user to the group, and log in again')]
    const holder = await lockHolder(patient)
    if (holder !== undefined) {
      const found = `an engine${holder} keeps its state in ${patient.loaded.config.engine.stateDir}, and none answers on ${socket}`
      return [fail(found, `end that engine, or name its socket in engine.socket; then start one`)]
    }
    const start = 'systemctl start hearth, or hearth serve'
    if (isThere && isHearthError(health) && health.code !== 'UNAVAILABLE')
      return [
        fail(
          `what listens on ${socket} does not answer: ${health.message}`,
          `restart it: ${start}`,
        ),
      ]
    const left = isThere ? '; what is left of its socket is taken away when one starts' : ''
    return [warn(`no engine is running on ${socket}${left}`, start)]
  },
}

export const systemd: Check = {
  name: 'systemd',
  run({ root }) {
    if (!existsSync(join(root, 'run/systemd/system'))) return []
    const path = join(root, UNIT)
    if (!existsSync(path))
      return [ok('not installed as a service; hearth install-service does that')]
    return judgeUnit(readFileSync(path, 'utf8'), path)
  },
}

/** A unit's text against this install. */
export function judgeUnit(text: string, path: string): Finding[] {
  const command = /^ExecStart=[-@:+!]*(.+)$/m.exec(text)?.[1] ?? ''
  const again = 'hearth install-service writes it anew; then systemctl daemon-reload and restart'
  const files = command
    .split(/\s+/)
    .map(word => word.replace(/^"|"$/g, ''))
    .filter(word => word.startsWith('/'))
  if (files.length === 0) return [fail(`${path} starts nothing`, again)]
  const gone = files.find(file => !existsSync(file))
  if (gone !== undefined) return [fail(`${path} starts ${gone}, which is not there`, again)]
  if (!files.some(file => dirname(file).startsWith(PACKAGE_ROOT)))
    return [warn(`${path} starts another install: ${command}`, again)]
  return [ok(`${path} starts this install`)]
}

async function healthOf(socket: string): Promise<Health | Error> {
  try {
    const hearth = await connect({
      socket,
      name: 'hearth doctor',
      failOpen: false,
      sharedMemory: false,
      timeoutMs: ANSWER_MS_MAX,
    })
    try {
      return await hearth.health()
    } finally {
      await hearth.close()
    }
  } catch (error) {
    return error as Error
  }
}

function healthFindings({ parts }: Health, socket: string): Finding[] {
  const findings: Finding[] = []
  for (const [part, { status, reason, warning }] of Object.entries(parts)) {
    const words = reason ?? warning
    if (status === 'ok' && words === undefined) continue
    const found = `${part} is ${status}: ${words ?? 'it says no more'}`
    const mend = 'hearth health and the log say more'
    findings.push(status === 'down' ? fail(found, mend) : warn(found, mend))
  }
  return findings.length > 0 ? findings : [ok(`one answers on ${socket}, and all is well`)]
}

/** Of the state folder: ` (pid N)`, or empty for one that does not say; undefined: nobody has it. */
async function lockHolder({ loaded }: ReadPatient): Promise<string | undefined> {
  const { stateDir } = loaded.config.engine
  if (!existsSync(stateDir)) return undefined
  try {
    const unlock = await lockFolder(stateDir, 'state', holder => holder)
    unlock()
    return undefined
  } catch (error) {
    return isHearthError(error) && error.code === 'BUSY' ? error.message : undefined
  }
}
