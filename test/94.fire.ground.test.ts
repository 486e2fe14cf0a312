/** What an engine stands on gives way: the clock, the disk, the cache file, its worker, its database.
 *  Owns:   an engine a fault, in a process of its own.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits. */

import { clockJumps } from '../bench/fire/clock.ts'
import { diskFull, fileDamaged } from '../bench/fire/disk.ts'
import { postgresGone } from '../bench/fire/postgres.ts'
import { workerKilled } from '../bench/fire/workers.ts'
import { fireTest } from './helpers/fire.ts'

fireTest(
  'the clock jumps by a day, forth and back, and nothing hangs or comes back from the dead',
  clockJumps,
)
fireTest(
  'a disk fills up and has room again, in turns: no get fails, no acknowledged write is lost',
  diskFull,
)
fireTest(
  'the cache file is overwritten while it is used: misses, no wrong value, no crash',
  fileDamaged,
)
fireTest(
  'the worker is killed again and again: all is answered, acknowledged writes are kept',
  workerKilled,
  true,
)
fireTest(
  'Postgres is gone from the start: the cache works, statements fail soon, then they work',
  postgresGone,
  true,
)
