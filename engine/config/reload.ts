/** Reload: what a SIGHUP may take over from a new configuration, and what has to wait for a
 *  restart.
 *  Owns:   the comparison of two configurations.   Not here: applying it (each part does its own
 *          keys).
 *  Thread: main.
 *  Holds:  (1) each differing key is in one list.  (2) The texts are masked: a changed password is
 *          a change whose two texts are equal. */

import { type Config, type Entry, entriesOf } from './config.ts'
import { showValue } from './value_types.ts'

export interface ConfigChange {
  readonly key: string
  /** As written in the file; empty where the key was or is not set. */
  readonly from: string
  readonly to: string
}

export interface ReloadPlan {
  readonly changed: readonly ConfigChange[]
  readonly needsRestart: readonly ConfigChange[]
}

/** Keys that differ, split by whether the schema calls them reloadable. */
export function diffReload(oldConfig: Config, newConfig: Config): ReloadPlan {
  const before = byKey(oldConfig)
  const after = byKey(newConfig)
  const changed: ConfigChange[] = []
  const needsRestart: ConfigChange[] = []
  for (const key of new Set([...before.keys(), ...after.keys()])) {
    const from = before.get(key)
    const to = after.get(key)
    const { row } = (from ?? to)!
    // As JSON, lists compare by their items.
    if (JSON.stringify(from?.value) === JSON.stringify(to?.value)) continue
    const change = { key, from: showValue(from?.value, row), to: showValue(to?.value, row) }
    if (row.reloadable) changed.push(change)
    else needsRestart.push(change)
  }
  return { changed, needsRestart }
}

function byKey(config: Config): Map<string, Entry> {
  return new Map(entriesOf(config).map(entry => [entry.key, entry]))
}
