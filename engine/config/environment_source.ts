/** Environment source: `HEARTH_<SECTION>_<KEY>` variables into the draft.
 *  Owns:   which variables are ours, and the warning about those that are not.
 *  Thread: main, at start and reload.
 *  Holds:  (1) an empty variable counts as unset, as XDG and systemd's users expect.  (2) An
 *          unknown one is never refused: a newer or older engine may share the environment. Its
 *          value is not shown. */

import type { Draft } from './draft.ts'
import { environmentAliases, environmentName, PATTERNS } from './keys.ts'
import { nearest } from './nearest.ts'
import { MAIN_DATABASE } from './schema.ts'
import type { Environment } from './socket_path.ts'

const KNOWN_ELSEWHERE = /^HEARTH_(CONFIG|SOCKET|TEST_FULL|DEV_.*)$/

/** Regular names first, then the aliases: `HEARTH_SOCKET` overrides whatever else names the
 *  socket. */
export function readEnvironmentInto(draft: Draft, env: Environment, cwd: string): void {
  const aliases = environmentAliases()
  const context = { source: 'environment', baseDir: cwd } as const
  const ours = Object.keys(env).filter(name => name.startsWith('HEARTH_') && env[name])
  for (const name of ours.sort((a, b) => Number(aliases.has(a)) - Number(aliases.has(b)))) {
    const path = aliases.get(name)?.split('.') ?? pathFromName(name, draft)
    if (path !== undefined) {
      draft.set(path, env[name], { from: 'environment', where: `$${name}` }, context)
    } else if (!KNOWN_ELSEWHERE.test(name)) {
      draft.warnings.push(
        `$${name} is unknown and ignored; the nearest name is $${nearestName(name)}`,
      )
    }
  }
}

/** `HEARTH_POSTGRES_HISTORY_POOL_SIZE` → postgres.history.pool.size. */
function pathFromName(name: string, draft: Draft): string[] | undefined {
  const found = PATTERNS.map(({ parts, row }) => {
    const shape = parts.map(part => (part === '*' ? '(.+)' : part.toUpperCase())).join('_')
    const match = new RegExp(`^HEARTH_${shape}$`).exec(name)
    return match === null ? undefined : { parts, row, upper: match[1] ?? '' }
  }).filter(each => each !== undefined)
  // MAIN_MIN_REPLICAS is min_replicas of main, not replicas of main_min: the longer key has the shorter name beside it.
  const [best] = found.toSorted((a, b) => a.upper.length - b.upper.length)
  if (best === undefined) return undefined
  const { parts, row, upper } = best
  const known = knownName(upper, parts[0]!, row.known ?? Object.keys(row.named ?? {}), draft)
  return parts.map(part => (part === '*' ? known : part))
}

/** A name that the file uses keeps its case and dashes; a new one is in lower case. */
function knownName(
  upper: string,
  section: string,
  builtIn: readonly string[],
  draft: Draft,
): string {
  const inFile = [...draft.mentioned.keys()].map(key => key.split('.'))
  const names = inFile.filter(path => path[0] === section && path.length > 1).map(path => path[1]!)
  const same = [...names, ...builtIn].find(known => environmentName(known) === `HEARTH_${upper}`)
  return same ?? upper.toLowerCase()
}

function nearestName(name: string): string {
  const names = PATTERNS.map(({ key }) => environmentName(key.replace('*', MAIN_DATABASE)))
  return nearest(name, [...names, ...environmentAliases().keys(), 'HEARTH_CONFIG'])!
}
