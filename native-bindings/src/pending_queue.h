/** pending_queue: what a pipeline has sent and not answered yet, oldest first. Plain C.
 *  Owns:   the ring of entries, which grows as needed.
 *  Thread: the loop's own.
 *  Holds:  at most PENDING_COUNT_MAX entries. */
#ifndef HEARTH_PENDING_QUEUE_H
#define HEARTH_PENDING_QUEUE_H

#include "statement_table.h"

#define PENDING_COUNT_MAX 65536

/** What results the group of an entry has, up to its sync. */
typedef enum pending_kind {
    PENDING_EXECUTE, /* one result */
    PENDING_PREPARE, /* of Parse, of Execute */
    PENDING_CLOSE    /* one, which nobody waits for */
} pending_kind_t;

typedef struct pending {
    int32_t id;
    pending_kind_t kind;
    statement_t *statement; /* NULL for a text that is not prepared */
} pending_t;

typedef struct pending_queue {
    pending_t *entries;
    uint32_t capacity; /* a power of two */
    uint32_t head;
    uint32_t count;
    uint32_t popped_count; /* ever, modulo 2^32: names the head */
} pending_queue_t;

/** Room for one more; false when memory is out or the queue is full. */
bool pending_queue_reserve(pending_queue_t *queue);
/** After pending_queue_reserve(). Holds the statement. */
void pending_queue_push(pending_queue_t *queue, int32_t id, pending_kind_t kind, statement_t *statement);
/** The queue must not be empty. Good until the next push. */
const pending_t *pending_queue_head(const pending_queue_t *queue);
/** How many of the entries from number `number` on (popped_count names the head) somebody waits for. */
uint32_t pending_queue_count_from(const pending_queue_t *queue, uint32_t number);
/** The caller releases the statement. */
pending_t pending_queue_pop(pending_queue_t *queue);
/** Gives the memory back as well. */
void pending_queue_clear(pending_queue_t *queue);

#endif
