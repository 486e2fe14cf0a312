/** pg_types: what a column's type means for its values: the one table, for the C encoder and the reader.
 *  Owns:   PG_TYPES.   Not here: how values stand in a body (PROTOCOL.md), the reader (rows.ts).
 *  Thread: any.
 *  Holds:  (1) a type that is not here is text.  (2) native-bindings/src/pg_types.h is generated from it (`npm run emit`).
 *          (3) oids are Postgres' own built-in ones (pg_type.dat), which never change.
 *
 *  The meaning of each kind is in PROTOCOL.md. It is what npm `pg` gives, but for these: int8 is a number where that is exact,
 *  else a bigint (pg: always text); `date` is its own text, since a day is no moment (pg: midnight in the process's time
 *  zone); interval, point and circle are text (pg: objects); elements of numeric[] are text like numeric itself (pg: rounded
 *  numbers), as are those of arrays that pg leaves whole (interval[]: pg has objects). */

/** Their order is their number in C. */
export const PG_KINDS = [
  'text',
  'bool',
  'int',
  'int8',
  'float',
  'bytea',
  'json',
  'timestamp',
  'timestamptz',
] as const

export type PgKind = (typeof PG_KINDS)[number]

/** How the binary form of a type is laid out, where the encoder knows it; `bytes`: as the text form. */
export const PG_BINARIES = [
  'none',
  'bytes',
  'bool',
  'int2',
  'int4',
  'int8',
  'oid',
  'float4',
  'float8',
  'bytea',
  'jsonb',
  'uuid',
  'timestamp',
] as const

export type PgBinary = (typeof PG_BINARIES)[number]

export interface PgType {
  readonly name: string
  readonly oid: number
  readonly arrayOid: number
  readonly kind: PgKind
  readonly binary: PgBinary
}

export const PG_TYPES: readonly PgType[] = [
  type('bool', 16, 1000, 'bool', 'bool'),
  type('bytea', 17, 1001, 'bytea', 'bytea'),
  type('char', 18, 1002, 'text', 'none'),
  type('name', 19, 1003, 'text', 'bytes'),
  type('int8', 20, 1016, 'int8', 'int8'),
  type('int2', 21, 1005, 'int', 'int2'),
  type('int4', 23, 1007, 'int', 'int4'),
  type('text', 25, 1009, 'text', 'bytes'),
  type('oid', 26, 1028, 'int', 'oid'),
  type('json', 114, 199, 'json', 'bytes'),
  type('cidr', 650, 651, 'text', 'none'),
  type('float4', 700, 1021, 'float', 'float4'),
  type('float8', 701, 1022, 'float', 'float8'),
  type('money', 790, 791, 'text', 'none'),
  type('macaddr', 829, 1040, 'text', 'none'),
  type('inet', 869, 1041, 'text', 'none'),
  type('bpchar', 1042, 1014, 'text', 'bytes'),
  type('varchar', 1043, 1015, 'text', 'bytes'),
  type('date', 1082, 1182, 'text', 'none'),
  type('time', 1083, 1183, 'text', 'none'),
  type('timestamp', 1114, 1115, 'timestamp', 'timestamp'),
  type('timestamptz', 1184, 1185, 'timestamptz', 'timestamp'),
  type('interval', 1186, 1187, 'text', 'none'),
  type('timetz', 1266, 1270, 'text', 'none'),
  type('numeric', 1700, 1231, 'text', 'none'),
  type('uuid', 2950, 2951, 'text', 'uuid'),
  type('jsonb', 3802, 3807, 'json', 'jsonb'),
  type('int4range', 3904, 3905, 'text', 'none'),
  type('numrange', 3906, 3907, 'text', 'none'),
  type('tsrange', 3908, 3909, 'text', 'none'),
  type('tstzrange', 3910, 3911, 'text', 'none'),
  type('daterange', 3912, 3913, 'text', 'none'),
  type('int8range', 3926, 3927, 'text', 'none'),
]

function type(name: string, oid: number, arrayOid: number, kind: PgKind, binary: PgBinary): PgType {
  return { name, oid, arrayOid, kind, binary }
}
