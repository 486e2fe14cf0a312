/** result_encode: a PGresult as the body of a ROWS reply (engine/protocol/PROTOCOL.md). Plain C.
 *  Owns:   a shape_t from shape_create() to shape_destroy().
 *  Thread: any; a shape is never changed, so several may read it.
 *  Holds:  (1) any bytes that libpq hands out are taken: what does not parse as its type goes as a str.  (2) the same value
 *          has the same bytes, whether it came as text or in binary.
 *  Parts:  value_text.c, value_binary.c and array_text.c encode one value, byte_buffer.c writes, pg_types.h is the table. */
#ifndef HEARTH_RESULT_ENCODE_H
#define HEARTH_RESULT_ENCODE_H

#include "byte_buffer.h"
#include "libpq_api.h"

/** What is the same for every result of a prepared statement: its columns. */
typedef struct shape shape_t;

/** From a result or a description (PQdescribePrepared). NULL when there is no memory. */
shape_t *shape_create(const libpq_api_t *pq, const PGresult *result);
/** NULL is taken too. */
void shape_destroy(shape_t *shape);
/** Whether a result has as many columns as the shape: a check, not a proof. */
bool shape_matches(const shape_t *shape, const libpq_api_t *pq, const PGresult *result);
/** Whether the encoder knows the binary form of every column, so that a statement may be asked for binary results. */
bool shape_all_binary(const shape_t *shape);

/** Appends the body to `out`; `source` says who answered ('primary'). Columns in text or in binary form, as PQfformat says.
 *  False when it does not fit `out->limit` or memory (`out->status`); reading stops there, `out` is to be cut back.
 *  False too, with `out` in order, when the shape does not match the result. */
bool result_encode(byte_buffer_t *out, const libpq_api_t *pq, const PGresult *result, const shape_t *shape,
                   const char *source);

#endif
