/** statement_table: what a pipeline knows of its prepared statements, by small numbers that its user gives out. Plain C.
 *  Owns:   the statements: name, text, shape; the array of slots.
 *  Thread: the loop's own.
 *  Holds:  (1) a statement lives as long as its slot or a request in flight refers to it: a slot may be used again at once.
 *          (2) a statement has a shape only while it is prepared, from its first result on.
 *
 *      unprepared ──sent with Parse──▶ preparing ──ok──▶ prepared
 *          ▲──────────refused──────────────┘               │
 *          └────────the server has it no longer────────────┘ */
#ifndef HEARTH_STATEMENT_TABLE_H
#define HEARTH_STATEMENT_TABLE_H

#include "result_encode.h"

#define STATEMENT_COUNT_MAX 1024
#define STATEMENT_NAME_BYTES_MAX 63 /* the server cuts longer ones */

typedef enum statement_state { STATEMENT_UNPREPARED, STATEMENT_PREPARING, STATEMENT_PREPARED } statement_state_t;

typedef struct statement {
    int reference_count;
    statement_state_t state;
    int result_format; /* 1, binary, once the shape says that the encoder knows it */
    shape_t *shape;    /* NULL until it had a result */
    char *text;
    char name[]; /* at the server */
} statement_t;

typedef struct statement_table {
    statement_t **slots;
    uint32_t capacity;
} statement_table_t;

/** NULL for a slot that was not defined. */
statement_t *statement_table_get(const statement_table_t *table, uint32_t slot);
/** Fills an empty slot below STATEMENT_COUNT_MAX; the name has 1 to STATEMENT_NAME_BYTES_MAX bytes. False when memory is out. */
bool statement_table_define(statement_table_t *table, uint32_t slot, const char *name, const char *text);
/** Empties a slot; the reference to what stood in it goes to the caller. */
statement_t *statement_table_take(statement_table_t *table, uint32_t slot);
/** A new session of the server knows none of them. */
void statement_table_reset(statement_table_t *table);
void statement_table_free(statement_table_t *table);

/** NULL is taken by each of these. */
void statement_hold(statement_t *statement);
void statement_release(statement_t *statement);
void statement_describe(statement_t *statement, shape_t *shape);
void statement_unprepare(statement_t *statement);

#endif
