/** answer_batch: answers of one event of the loop, gathered in the user's room until they are told together. Plain C.
 *  Owns:   nothing: the room is the user's, asked for when the first answer comes and after each telling.
 *  Thread: the loop's own.
 *  Holds:  (1) answers are told in the order they were put.  (2) false means: stop, nothing of the pipeline may be touched
 *          but by its user: it was finished in between, or cannot be told at all (`is_silent`). */
#ifndef HEARTH_ANSWER_BATCH_H
#define HEARTH_ANSWER_BATCH_H

#include "pipeline.h"

typedef struct answer_batch {
    pipeline_t *pipeline;
    unsigned generation; /* of the connection when the event began */
    answer_room_t room;
    size_t used; /* of room.output */
    uint32_t count;
    bool is_silent;
} answer_batch_t;

/** `result` is the answer to `entry`, request number `number`, or NULL for none; it is cleared. */
bool answer_batch_put(answer_batch_t *batch, const pending_t *entry, uint32_t number, PGresult *result);
/** Tells what has gathered. */
bool answer_batch_tell(answer_batch_t *batch);

#endif
