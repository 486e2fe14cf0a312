/** pending_queue: see the header.
 *  Owns: as there.   Thread: the loop's own.   Holds: as there. */
#include "pending_queue.h"

#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 16

bool pending_queue_reserve(pending_queue_t *queue) {
    if (queue->count < queue->capacity) return true;
    if (queue->count == PENDING_COUNT_MAX) return false;
    uint32_t capacity = queue->capacity == 0 ? CAPACITY_MIN : queue->capacity * 2;
    pending_t *entries = malloc(capacity * sizeof *entries);
    if (entries == NULL) return false;
    for (uint32_t i = 0; i < queue->count; i++) {
        entries[i] = queue->entries[(queue->head + i) & (queue->capacity - 1)];
    }
    free(queue->entries);
    queue->entries = entries;
    queue->capacity = capacity;
    queue->head = 0;
    return true;
}

void pending_queue_push(pending_queue_t *queue, int32_t id, pending_kind_t kind, statement_t *statement) {
    statement_hold(statement);
    queue->entries[(queue->head + queue->count) & (queue->capacity - 1)] = (pending_t){id, kind, statement};
    queue->count++;
}

const pending_t *pending_queue_head(const pending_queue_t *queue) { return &queue->entries[queue->head]; }

pending_t pending_queue_pop(pending_queue_t *queue) {
    pending_t entry = queue->entries[queue->head];
    queue->head = (queue->head + 1) & (queue->capacity - 1);
    queue->count--;
    queue->popped_count++;
    return entry;
}

void pending_queue_clear(pending_queue_t *queue) {
    while (queue->count > 0) statement_release(pending_queue_pop(queue).statement);
    free(queue->entries);
    *queue = (pending_queue_t){.popped_count = queue->popped_count};
}

uint32_t pending_queue_count_from(const pending_queue_t *queue, uint32_t number) {
    uint32_t waited = 0;
    int32_t first = (int32_t)(number - queue->popped_count);
    for (uint32_t i = first < 0 ? 0 : (uint32_t)first; i < queue->count; i++) {
        if (queue->entries[(queue->head + i) & (queue->capacity - 1)].kind != PENDING_CLOSE) waited++;
    }
    return waited;
}
