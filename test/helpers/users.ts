/** users: connections of other users than the tests', for real: the kernel notes the effective uid at connect().
 *  Owns:   nothing; the process is itself again when a call returns.   Thread: main of a test process, run by root.
 *  Holds:  what is connected within asUser() is connected by that user, whoever goes on with it. */

import { chmodSync } from 'node:fs'
import { dirname } from 'node:path'

export const skipUnlessRoot =
  process.getuid?.() === 0
    ? false
    : 'only root can connect as other users: run the tests as root for this'

/** Makes the way to a socket passable for everybody. */
export function openTheWay(socket: string): void {
  chmodSync(dirname(socket), 0o711)
}

/** Calls `act` as another user; what it connects before it returns, or awaits, is that user's. */
export function asUser<T>(uid: number, act: () => T, groups: readonly number[] = []): T {
  const own = process.getgroups!()
  process.setgroups!([...groups])
  process.setegid!(groups[0] ?? uid)
  process.seteuid!(uid)
  try {
    return act()
  } finally {
    process.seteuid!(0)
    process.setegid!(0)
    process.setgroups!(own)
  }
}
