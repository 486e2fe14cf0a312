/** pg_types: what a column's type means for its values. Plain C.
 *  Generated from engine/protocol/pg_types.ts by engine/protocol/emit.ts. Do not edit: `npm run emit`.
 *  Owns: nothing.   Thread: any.   Holds: a type that is not here is KIND_TEXT and has no binary form. */
#ifndef HEARTH_PG_TYPES_H
#define HEARTH_PG_TYPES_H

/** An array's kind is that of its elements with KIND_ARRAY added. */
typedef enum pg_kind {
    KIND_TEXT = 0,
    KIND_BOOL = 1,
    KIND_INT = 2,
    KIND_INT8 = 3,
    KIND_FLOAT = 4,
    KIND_BYTEA = 5,
    KIND_JSON = 6,
    KIND_TIMESTAMP = 7,
    KIND_TIMESTAMPTZ = 8,
    KIND_ARRAY = 16
} pg_kind_t;

/** How the binary form is laid out, where it is known. */
typedef enum pg_binary {
    BINARY_NONE = 0,
    BINARY_BYTES = 1,
    BINARY_BOOL = 2,
    BINARY_INT2 = 3,
    BINARY_INT4 = 4,
    BINARY_INT8 = 5,
    BINARY_OID = 6,
    BINARY_FLOAT4 = 7,
    BINARY_FLOAT8 = 8,
    BINARY_BYTEA = 9,
    BINARY_JSONB = 10,
    BINARY_UUID = 11,
    BINARY_TIMESTAMP = 12
} pg_binary_t;

static inline int pg_kind_of(unsigned int oid) {
    switch (oid) {
        case 16: return KIND_BOOL; /* bool */
        case 17: return KIND_BYTEA; /* bytea */
        case 20: return KIND_INT8; /* int8 */
        case 21: return KIND_INT; /* int2 */
        case 23: return KIND_INT; /* int4 */
        case 26: return KIND_INT; /* oid */
        case 114: return KIND_JSON; /* json */
        case 700: return KIND_FLOAT; /* float4 */
        case 701: return KIND_FLOAT; /* float8 */
        case 1114: return KIND_TIMESTAMP; /* timestamp */
        case 1184: return KIND_TIMESTAMPTZ; /* timestamptz */
        case 3802: return KIND_JSON; /* jsonb */
        case 1000: return KIND_ARRAY | KIND_BOOL; /* bool[] */
        case 1001: return KIND_ARRAY | KIND_BYTEA; /* bytea[] */
        case 1002: return KIND_ARRAY | KIND_TEXT; /* char[] */
        case 1003: return KIND_ARRAY | KIND_TEXT; /* name[] */
        case 1016: return KIND_ARRAY | KIND_INT8; /* int8[] */
        case 1005: return KIND_ARRAY | KIND_INT; /* int2[] */
        case 1007: return KIND_ARRAY | KIND_INT; /* int4[] */
        case 1009: return KIND_ARRAY | KIND_TEXT; /* text[] */
        case 1028: return KIND_ARRAY | KIND_INT; /* oid[] */
        case 199: return KIND_ARRAY | KIND_JSON; /* json[] */
        case 651: return KIND_ARRAY | KIND_TEXT; /* cidr[] */
        case 1021: return KIND_ARRAY | KIND_FLOAT; /* float4[] */
        case 1022: return KIND_ARRAY | KIND_FLOAT; /* float8[] */
        case 791: return KIND_ARRAY | KIND_TEXT; /* money[] */
        case 1040: return KIND_ARRAY | KIND_TEXT; /* macaddr[] */
        case 1041: return KIND_ARRAY | KIND_TEXT; /* inet[] */
        case 1014: return KIND_ARRAY | KIND_TEXT; /* bpchar[] */
        case 1015: return KIND_ARRAY | KIND_TEXT; /* varchar[] */
        case 1182: return KIND_ARRAY | KIND_TEXT; /* date[] */
        case 1183: return KIND_ARRAY | KIND_TEXT; /* time[] */
        case 1115: return KIND_ARRAY | KIND_TIMESTAMP; /* timestamp[] */
        case 1185: return KIND_ARRAY | KIND_TIMESTAMPTZ; /* timestamptz[] */
        case 1187: return KIND_ARRAY | KIND_TEXT; /* interval[] */
        case 1270: return KIND_ARRAY | KIND_TEXT; /* timetz[] */
        case 1231: return KIND_ARRAY | KIND_TEXT; /* numeric[] */
        case 2951: return KIND_ARRAY | KIND_TEXT; /* uuid[] */
        case 3807: return KIND_ARRAY | KIND_JSON; /* jsonb[] */
        case 3905: return KIND_ARRAY | KIND_TEXT; /* int4range[] */
        case 3907: return KIND_ARRAY | KIND_TEXT; /* numrange[] */
        case 3909: return KIND_ARRAY | KIND_TEXT; /* tsrange[] */
        case 3911: return KIND_ARRAY | KIND_TEXT; /* tstzrange[] */
        case 3913: return KIND_ARRAY | KIND_TEXT; /* daterange[] */
        case 3927: return KIND_ARRAY | KIND_TEXT; /* int8range[] */
        default: return KIND_TEXT;
    }
}

static inline pg_binary_t pg_binary_of(unsigned int oid) {
    switch (oid) {
        case 16: return BINARY_BOOL; /* bool */
        case 17: return BINARY_BYTEA; /* bytea */
        case 19: return BINARY_BYTES; /* name */
        case 20: return BINARY_INT8; /* int8 */
        case 21: return BINARY_INT2; /* int2 */
        case 23: return BINARY_INT4; /* int4 */
        case 25: return BINARY_BYTES; /* text */
        case 26: return BINARY_OID; /* oid */
        case 114: return BINARY_BYTES; /* json */
        case 700: return BINARY_FLOAT4; /* float4 */
        case 701: return BINARY_FLOAT8; /* float8 */
        case 1042: return BINARY_BYTES; /* bpchar */
        case 1043: return BINARY_BYTES; /* varchar */
        case 1114: return BINARY_TIMESTAMP; /* timestamp */
        case 1184: return BINARY_TIMESTAMP; /* timestamptz */
        case 2950: return BINARY_UUID; /* uuid */
        case 3802: return BINARY_JSONB; /* jsonb */
        default: return BINARY_NONE;
    }
}

#endif
