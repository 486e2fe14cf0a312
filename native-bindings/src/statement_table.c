/** statement_table: see the header.
 *  Owns: as there.   Thread: the loop's own.   Holds: as there. */
#define _GNU_SOURCE
#include "statement_table.h"

#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 16

static bool table_reserve(statement_table_t *table, uint32_t slot);

statement_t *statement_table_get(const statement_table_t *table, uint32_t slot) {
    return slot < table->capacity ? table->slots[slot] : NULL;
}

bool statement_table_define(statement_table_t *table, uint32_t slot, const char *name, const char *text) {
    size_t name_size = strlen(name) + 1;
    if (!table_reserve(table, slot)) return false;
    statement_t *statement = calloc(1, sizeof *statement + name_size);
    char *kept = strdup(text);
    if (statement == NULL || kept == NULL) {
        free(statement);
        free(kept);
        return false;
    }
    statement->reference_count = 1;
    statement->text = kept;
    memcpy(statement->name, name, name_size);
    table->slots[slot] = statement;
    return true;
}

statement_t *statement_table_take(statement_table_t *table, uint32_t slot) {
    statement_t *statement = statement_table_get(table, slot);
    if (statement != NULL) table->slots[slot] = NULL;
    return statement;
}

void statement_table_reset(statement_table_t *table) {
    for (uint32_t slot = 0; slot < table->capacity; slot++) statement_unprepare(table->slots[slot]);
}

void statement_table_free(statement_table_t *table) {
    for (uint32_t slot = 0; slot < table->capacity; slot++) statement_release(table->slots[slot]);
    free(table->slots);
    table->slots = NULL;
    table->capacity = 0;
}

void statement_hold(statement_t *statement) {
    if (statement != NULL) statement->reference_count++;
}

void statement_release(statement_t *statement) {
    if (statement == NULL || --statement->reference_count > 0) return;
    shape_destroy(statement->shape);
    free(statement->text);
    free(statement);
}

void statement_describe(statement_t *statement, shape_t *shape) {
    if (statement == NULL) return;
    shape_destroy(statement->shape);
    statement->shape = shape;
    statement->result_format = shape != NULL && shape_all_binary(shape) ? 1 : 0;
}

void statement_unprepare(statement_t *statement) {
    if (statement == NULL) return;
    statement->state = STATEMENT_UNPREPARED;
    statement_describe(statement, NULL);
}

static bool table_reserve(statement_table_t *table, uint32_t slot) {
    if (slot < table->capacity) return true;
    uint32_t capacity = table->capacity < CAPACITY_MIN ? CAPACITY_MIN : table->capacity;
    while (capacity <= slot) capacity *= 2;
    statement_t **slots = realloc(table->slots, capacity * sizeof *slots);
    if (slots == NULL) return false;
    memset(slots + table->capacity, 0, (capacity - table->capacity) * sizeof *slots);
    table->slots = slots;
    table->capacity = capacity;
    return true;
}
