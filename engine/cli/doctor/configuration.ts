/** configuration: whether it can be read, and what in it makes little sense together.
 *  Owns:   the checks `configuration` and `secrets`.   Not here: what is refused at a start (config/).
 *  Thread: main.
 *  Holds:  no secret is shown. */

import { statSync } from 'node:fs'
import { totalmem } from 'node:os'
import type { Config } from '../../config/config.ts'
import { formatSize, rateOf } from '../../config/units.ts'
import { type Check, type Finding, fail, ok, warn } from './finding.ts'

/** More than this share of the machine's memory for tier 1 is hardly meant. */
const MEMORY_SHARE_MAX = 1 / 4

export const configuration: Check = {
  name: 'configuration',
  run({ loaded, refusal }) {
    if (loaded === undefined)
      return [
        fail(refusal ?? 'it cannot be read', 'mend each line named above; nothing starts before'),
      ]
    const where = loaded.file ?? 'defaults and environment'
    const warnings = loaded.warnings.map(text =>
      warn(text, 'write the name that is meant; hearth config shows what is in force'),
    )
    return [ok(`read from ${where}`), ...warnings, ...senseOf(loaded.config)]
  },
}

export const secrets: Check = {
  name: 'secrets',
  needsConfig: true,
  run({ loaded: { file, origins, config } }) {
    const inFile = Object.entries(config.postgres).filter(
      ([name, { url }]) => hasPassword(url) && origins[`postgres.${name}.url`]?.from === 'file',
    )
    if (file === undefined || inFile.length === 0) return []
    const mode = statSync(file).mode & 0o777
    if ((mode & 0o004) === 0)
      return [ok(`${file} has a password, and is not for everybody to read`)]
    const found = `${file} has a password, and everybody may read it (mode 0${mode.toString(8)})`
    return [warn(found, `chmod 640 ${file}, and give it the group that the engine runs as`)]
  },
}

/** Values that are each allowed, and together hardly meant. */
function senseOf({ memory, limits, postgres, engine }: Config): Finding[] {
  const findings: Finding[] = []
  if (memory.maxBytes > totalmem() * MEMORY_SHARE_MAX) {
    const found = `memory.max_bytes is ${formatSize(memory.maxBytes)}, more than a quarter of this machine's memory`
    findings.push(warn(found, 'set memory.max_bytes lower: tier 2 takes what does not fit'))
  }
  const own = rateOf(limits.perClient)!
  const all = rateOf(limits.global)!
  if (own.max / own.windowMs > all.max / all.windowMs) {
    const found = `limits.per_client (${limits.perClient}) allows one client more than limits.global (${limits.global}) allows all`
    findings.push(warn(found, 'raise limits.global, or lower limits.per_client'))
  }
  if ((engine.socketMode & 0o002) !== 0) {
    const found = `engine.socket_mode is 0${engine.socketMode.toString(8)}: every user of this machine may connect`
    findings.push(
      warn(found, "set engine.socket_mode to 0660, and add services to the socket's group"),
    )
  }
  for (const [name, { pool }] of Object.entries(postgres)) {
    if (pool.statementTimeoutMs <= pool.acquireTimeoutMs * 10) continue
    const found = `database "${name}": a statement may run ${pool.statementTimeoutMs} ms, while others wait ${pool.acquireTimeoutMs} ms for its connection`
    findings.push(
      warn(found, `raise postgres.${name}.pool.acquire_timeout, or lower its statement_timeout`),
    )
  }
  return findings
}

function hasPassword(url: string): boolean {
  return /^[^:]+:\/\/[^/@]*:[^/@]+@/.test(url) || /password=/.test(url)
}
