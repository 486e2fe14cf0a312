/** checks: the table of what `hearth doctor` looks at, in the order in which things build on each other.
 *  Owns:   the order.   Not here: the checks themselves.
 *  Thread: main.
 *  Holds:  a check that throws is a finding, and stops no other. */

import { configuration, secrets } from './configuration.ts'
import { type Check, type Finding, fail, type Patient, type ReadPatient } from './finding.ts'
import { clock, hugePages, openFiles, overcommit, sharedMemory } from './kernel.ts'
import { diskSpace, fileSystem, group, socket, stateFolder } from './places.ts'
import { postgres } from './postgres.ts'
import { libpq, nativeBinding, node, sqlite } from './runtime.ts'
import { engine, systemd } from './service.ts'

export const CHECKS: readonly Check[] = [
  configuration,
  secrets,
  node,
  nativeBinding,
  libpq,
  sqlite,
  socket,
  group,
  stateFolder,
  fileSystem,
  diskSpace,
  openFiles,
  sharedMemory,
  overcommit,
  hugePages,
  clock,
  postgres,
  systemd,
  engine,
]

export interface NamedFinding extends Finding {
  readonly check: string
}

/** Makes every check that can be made. */
export async function examine(patient: Patient): Promise<NamedFinding[]> {
  const all: NamedFinding[] = []
  for (const { name, needsConfig, run } of CHECKS) {
    if (needsConfig && patient.loaded === undefined) continue
    for (const finding of await findingsOf(run, patient as ReadPatient))
      all.push({ check: name, ...finding })
  }
  return all
}

async function findingsOf(run: Check['run'], patient: ReadPatient): Promise<readonly Finding[]> {
  try {
    return await run(patient)
  } catch (error) {
    const { message } = error as Error
    return [fail(`it could not be looked at: ${message}`, 'see that this user may read it')]
  }
}
