/** install-service: writes the systemd units for this install, or prints them, and says what to do next.
 *  Owns:   the words.   Not here: the units (deploy/systemd).   Thread: main.
 *  Holds:  it starts and enables nothing: what happens to the system is the operator's to decide. */

import { join } from 'node:path'
import { type Found, findFacts } from '../../deploy/systemd/facts.ts'
import { stamped, type UnitFile, writeUnitFiles } from '../../deploy/systemd/unit_files.ts'
import { serviceUnit, socketUnit, usersFile } from '../../deploy/systemd/units.ts'
import { loadNative } from '../../native.ts'
import type { Input } from '../input.ts'
import { complain, print, printJson, styled } from '../output.ts'
import { UsageError } from '../usage_error.ts'

const USER = 'hearth'
/** What useradd(8) takes. */
const NAME = /^[a-z_][a-z0-9_-]{0,30}$/

export async function run(input: Input): Promise<number> {
  const { root = '/' } = input.options
  const user = name(input, 'user', USER)
  const group = name(input, 'group', user)
  const found = findFacts({ user, group, configFile: input.options['config'], root })
  const warnings = [...found.warnings]
  if ((await loadNative()) === undefined)
    warnings.push('without the native binding systemd cannot be told that the engine is ready')

  const files = unitFiles(found, root)
  const isPrinted = input.switches.has('print')
  const written = isPrinted ? undefined : writeUnitFiles(files, input.switches.has('force'))
  const next = nextSteps(found, written?.some(({ outcome }) => outcome === 'updated') ?? false)

  const { node, socket } = found.facts
  if (input.isJson) {
    const shown = files.map(({ path, text }, i) => ({
      path,
      ...(written === undefined ? { text } : { outcome: written[i]!.outcome }),
    }))
    printJson({ files: shown, user, group, socket, runtime: node, next, warnings })
    return 0
  }
  if (written === undefined)
    print(
      files
        .map(({ path, text }) => `# ${path}\n${text}`)
        .join('\n')
        .trimEnd(),
    )
  for (const { path, outcome } of written ?? []) {
    const kept = outcome === 'replaced' ? ` (what was there is ${path}.old)` : ''
    print(`${outcome.padEnd(9)} ${path}${kept}`)
  }
  for (const warning of warnings)
    complain(`${styled('yellow', 'warning:', process.stderr)} ${warning}`)
  if (!isPrinted) print(`\nnext, as root:\n${next.map(step => `  ${step}`).join('\n')}`)
  return 0
}

function name(input: Input, option: 'user' | 'group', otherwise: string): string {
  const found = input.options[option] ?? otherwise
  if (NAME.test(found)) return found
  throw new UsageError(
    `--${option}: found ${JSON.stringify(found)}, expected a name such as hearth`,
    'install-service',
  )
}

function unitFiles({ facts, hasUser }: Found, root: string): UnitFile[] {
  const units = join(root, 'etc/systemd/system')
  const file = (path: string, text: string, unit: string): UnitFile => ({
    path,
    text: stamped(text, facts.version, unit),
  })
  const files = [
    file(join(units, 'hearth.service'), serviceUnit(facts), 'hearth.service'),
    file(join(units, 'hearth.socket'), socketUnit(facts), 'hearth.socket'),
  ]
  const users = join(root, 'etc/sysusers.d/hearth.conf')
  return hasUser && facts.user !== USER ? files : [...files, file(users, usersFile(facts), '')]
}

function nextSteps({ facts, hasUser }: Found, isUpdate: boolean): string[] {
  const { group, socket } = facts
  return [
    ...(hasUser ? [] : ['systemd-sysusers hearth.conf']),
    'systemctl daemon-reload',
    isUpdate
      ? 'systemctl restart hearth.service'
      : 'systemctl enable --now hearth.socket hearth.service',
    `usermod --append --groups ${group} NAME    # each user whose services are to connect`,
    `HEARTH_SOCKET=${socket} hearth ping    # and Environment=HEARTH_SOCKET=${socket} in their units`,
  ]
}
