/** rights: what an operation may need of its client's role.
 *  Owns:   RIGHT.   Not here: which operation needs which (the column `needs` of the table), who has them (guard/access.ts).
 *  Thread: any.   Holds: bits of one byte. */

/** `sqlWrite` is COPY from a client; whether a statement writes Postgres itself decides. */
export const RIGHT = {
  none: 0,
  read: 1,
  write: 2,
  subscribe: 4,
  publish: 8,
  sql: 16,
  sqlWrite: 32,
  figures: 64,
  admin: 128,
} as const

export type Right = keyof typeof RIGHT
