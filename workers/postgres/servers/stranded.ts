/** Stranded: whether a replica that receives nothing can ever catch up by itself, and what is to be run if it cannot.
 *  Owns:   the questions.   Not here: noticing that it receives nothing (follow.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) said for certain only where the primary shows its WAL folder and its history, which takes pg_monitor and
 *          pg_read_server_files (or a superuser); else undefined: nobody knows.  (2) nothing is changed at any server. */

import { NOTHING_KNOWN, type ReplicaSettings } from './advice.ts'
import type { Row } from './probe.ts'
import type { Member } from './topology.ts'

/** Why a replica cannot catch up. */
export type Strand = 'starved' | 'diverged'

export const STRAND_TEXT: Record<Strand, string> = {
  starved: 'the primary no longer has the WAL that it needs',
  diverged: 'it has left the history of the primary',
}

const ASK_MS_MAX = 2_000

/** Asks the primary. `undefined`: it may still catch up, or nobody may know. */
export async function strandOf(replica: Member, primary: Member): Promise<Strand | undefined> {
  const { seen } = replica.server
  if (seen === undefined) return undefined
  const ask = (sql: string) => primary.check.probe.ask(sql, ASK_MS_MAX)
  const [may] = await ask(MAY_LOOK)
  const lsn = Math.max(seen.receivedLsn, seen.lsn)
  const { timeline } = primary.server.seen!
  if (seen.timeline < timeline && may?.['history'] === true) {
    const [row] = await ask(historyOf(timeline))
    if (lsn > endOf(seen.timeline, String(row?.['history'] ?? ''))) return 'diverged'
  }
  if (may?.['wal'] !== true || lsn >= primary.server.seen!.lsn) return undefined
  const [row] = await ask(hasSegment(lsn))
  return row?.['has'] === false ? 'starved' : undefined
}

/** What its copy is to be made with; what the engine's role may not see is left out. */
export async function settingsOf(replica: Member, primary: Member): Promise<ReplicaSettings> {
  const setting = async (name: string) => {
    const sql = `select current_setting('${name}') as value`
    const [row] = await replica.check.probe.ask(sql, ASK_MS_MAX).catch((): Row[] => [])
    return String(row?.['value'] ?? '')
  }
  const dataDir = await setting('data_directory')
  const conninfo = await setting('primary_conninfo')
  const slot = await setting('primary_slot_name')
  if (slot === '') return { ...NOTHING_KNOWN, dataDir, conninfo }
  const [row] = await primary.check.probe
    .ask(SLOT.replace('$1', slot.replaceAll("'", "''")), ASK_MS_MAX)
    .catch((): Row[] => [])
  const status = row?.['status']
  const isSlotLost = status === 'lost'
  return { dataDir, conninfo, slot, isSlotLost, hasSlot: row !== undefined && !isSlotLost }
}

const SLOT = `select coalesce(wal_status, '') as status from pg_replication_slots where slot_name = '$1'`

const MAY_LOOK = `select has_function_privilege('pg_ls_waldir()', 'execute') as wal,
  pg_has_role('pg_read_server_files', 'usage')
    and has_function_privilege('pg_read_file(text)', 'execute') as history`

function historyOf(timeline: number): string {
  const name = timeline.toString(16).toUpperCase().padStart(8, '0')
  return `select pg_read_file('pg_wal/${name}.history') as history`
}

/** Where a timeline was left for the next one; Infinity when it is not in this history's list. */
function endOf(timeline: number, history: string): number {
  for (const line of history.split('\n')) {
    const found = /^\s*(\d+)\s+([0-9A-F]+)\/([0-9A-F]+)/i.exec(line)
    if (found === null || Number(found[1]) !== timeline) continue
    return Number.parseInt(found[2]!, 16) * 2 ** 32 + Number.parseInt(found[3]!, 16)
  }
  return Number.POSITIVE_INFINITY
}

/** Of whichever timeline: the last sixteen digits of a segment's name are its place. */
function hasSegment(lsn: number): string {
  return `select exists (select from pg_ls_waldir()
    where substr(name, 9) = substr(pg_walfile_name('0/0'::pg_lsn + ${lsn} + 1), 9)) as has`
}
