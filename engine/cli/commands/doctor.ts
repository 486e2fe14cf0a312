/** doctor: looks at everything that Hearth needs, and says how to mend what is not as it should be.
 *  Owns:   how findings are shown.   Not here: what is looked at (doctor/checks.ts).
 *  Thread: main.
 *  Holds:  exit code 1 means that something fails; warnings are for whoever reads them. */

import { loadConfig } from '../../config/load.ts'
import { isHearthError } from '../../errors.ts'
import { examine, type NamedFinding } from '../doctor/checks.ts'
import type { Patient, Verdict } from '../doctor/finding.ts'
import type { Input } from '../input.ts'
import { print, printJson, type Style, styled } from '../output.ts'

const STYLES: Record<Verdict, Style> = { ok: 'green', warn: 'yellow', fail: 'red' }

export async function run(input: Input): Promise<number> {
  const findings = await examine(patientOf(input.options['config']))
  const count = (status: Verdict): number => findings.filter(each => each.status === status).length
  const status: Verdict = count('fail') > 0 ? 'fail' : count('warn') > 0 ? 'warn' : 'ok'
  if (input.isJson) printJson({ status, findings })
  else {
    const width = Math.max(...findings.map(({ check }) => check.length))
    for (const finding of findings) print(linesOf(finding, width).join('\n'))
    print(
      `\n${count('fail')} failed, ${count('warn')} to look at, ${count('ok')} as they should be`,
    )
  }
  return status === 'fail' ? 1 : 0
}

function patientOf(file: string | undefined): Patient {
  try {
    return { loaded: loadConfig({ file }), refusal: undefined, root: '/' }
  } catch (error) {
    if (!isHearthError(error)) throw error
    return { loaded: undefined, refusal: error.message, root: '/' }
  }
}

function linesOf({ check, status, found, mend }: NamedFinding, width: number): string[] {
  const [first = '', ...more] = found.split('\n')
  const indent = ' '.repeat(width + 8)
  const lines = [`${styled(STYLES[status], status.padEnd(4))}  ${check.padEnd(width)}  ${first}`]
  lines.push(...more.map(line => `${indent}${line}`))
  if (mend !== undefined) lines.push(`${indent}→ ${mend}`)
  return lines
}
