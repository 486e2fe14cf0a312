/** answer_batch: see the header.
 *  Owns: as there.   Thread: the loop's own.
 *  Holds: a body is encoded where it is read: only one that is larger than the whole room has memory of its own. */
#include "answer_batch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_FIELD_BYTES_MAX 8192
#define ERROR_ROOM_PARTS 8 /* a field has at most this part of the room, so that an error always fits */
#define ERROR_FIELD_COUNT 6

typedef enum put_state { PUT_DONE, PUT_FULL, PUT_TOO_LARGE, PUT_NO_MEMORY, PUT_STOPPED } put_state_t;

static bool put_rows(answer_batch_t *batch, const pending_t *entry, PGresult *result);
static put_state_t put_rows_into_room(answer_batch_t *batch, int32_t id, const PGresult *result, const shape_t *shape);
static put_state_t encode_large(answer_batch_t *batch, byte_buffer_t *body, const PGresult *result, const shape_t *shape);
static bool tell_large(answer_batch_t *batch, int32_t id, const byte_buffer_t *body);
static bool put_error(answer_batch_t *batch, int32_t id, const PGresult *error);
static bool put_no_memory(answer_batch_t *batch, int32_t id);
static bool put_kind(answer_batch_t *batch, int32_t id, answer_kind_t kind);
static bool batch_open(answer_batch_t *batch);
static void batch_add(answer_batch_t *batch, int32_t id, answer_kind_t kind, size_t end);
static bool batch_after_telling(answer_batch_t *batch, bool is_told);
static const shape_t *shape_of(const pending_t *entry, const libpq_api_t *pq, const PGresult *result, shape_t **own);

bool answer_batch_put(answer_batch_t *batch, const pending_t *entry, uint32_t number, PGresult *result) {
    const libpq_api_t *pq = batch->pipeline->connection.pq;
    int status = result == NULL ? PGRES_PIPELINE_ABORTED : pq->PQresultStatus(result);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY) {
        return put_rows(batch, entry, result);
    }
    answer_kind_t kind = status == PGRES_PIPELINE_ABORTED ? ANSWER_ABORTED
                                                          : pipeline_kind_of_error(batch->pipeline, number, result);
    bool is_put = kind == ANSWER_REFUSED ? put_error(batch, entry->id, result) : put_kind(batch, entry->id, kind);
    pq->PQclear(result);
    return is_put;
}

bool answer_batch_tell(answer_batch_t *batch) {
    if (batch->count == 0) return true;
    uint32_t count = batch->count;
    batch->count = 0;
    batch->used = 0;
    batch->room.output = NULL;
    return batch_after_telling(batch, batch->pipeline->events->on_answers(batch->pipeline, count));
}

/* Frees the result as soon as it is encoded: telling may run anything. */
static bool put_rows(answer_batch_t *batch, const pending_t *entry, PGresult *result) {
    const libpq_api_t *pq = batch->pipeline->connection.pq;
    byte_buffer_t body;
    shape_t *own = NULL;
    const shape_t *shape = shape_of(entry, pq, result, &own);
    put_state_t state = shape == NULL ? PUT_NO_MEMORY : put_rows_into_room(batch, entry->id, result, shape);
    bool is_large = state == PUT_FULL;
    if (is_large) state = encode_large(batch, &body, result, shape);
    shape_destroy(own);
    pq->PQclear(result);
    if (state == PUT_STOPPED) return false;
    if (state == PUT_TOO_LARGE) return put_kind(batch, entry->id, ANSWER_TOO_LARGE);
    if (state == PUT_NO_MEMORY) return put_no_memory(batch, entry->id);
    if (!is_large) return true;
    bool is_told = tell_large(batch, entry->id, &body);
    byte_buffer_free(&body);
    return is_told;
}

/* PUT_FULL when it is larger than the whole room, in which nothing stands any more then. */
static put_state_t put_rows_into_room(answer_batch_t *batch, int32_t id, const PGresult *result, const shape_t *shape) {
    const pipeline_t *pipeline = batch->pipeline;
    for (;;) {
        if (!batch_open(batch)) return PUT_STOPPED;
        size_t left = batch->room.output_size - batch->used;
        bool is_bounded = pipeline->bytes_max < left;
        byte_buffer_t out;
        byte_buffer_init(&out, 0);
        out.bytes = batch->room.output; /* never reallocated: its limit is within its capacity */
        out.capacity = batch->room.output_size;
        out.size = batch->used;
        byte_buffer_set_limit(&out, batch->used + (is_bounded ? pipeline->bytes_max : left));
        if (result_encode(&out, pipeline->connection.pq, result, shape, pipeline->source)) {
            batch_add(batch, id, ANSWER_ROWS, out.size);
            return PUT_DONE;
        }
        if (out.status == BUFFER_NO_MEMORY) return PUT_NO_MEMORY;
        if (is_bounded) return PUT_TOO_LARGE; /* as encode_large() would find */
        if (batch->count == 0) return PUT_FULL;
        if (!answer_batch_tell(batch)) return PUT_STOPPED;
    }
}

static put_state_t encode_large(answer_batch_t *batch, byte_buffer_t *body, const PGresult *result,
                                const shape_t *shape) {
    const pipeline_t *pipeline = batch->pipeline;
    byte_buffer_init(body, pipeline->bytes_max);
    if (result_encode(body, pipeline->connection.pq, result, shape, pipeline->source)) return PUT_DONE;
    put_state_t state = body->status == BUFFER_NO_MEMORY ? PUT_NO_MEMORY : PUT_TOO_LARGE;
    byte_buffer_free(body);
    return state;
}

/* After all that was gathered before: put_rows_into_room() has told that. */
static bool tell_large(answer_batch_t *batch, int32_t id, const byte_buffer_t *body) {
    assert(batch->count == 0);
    batch->room.output = NULL;
    return batch_after_telling(batch, batch->pipeline->events->on_large(batch->pipeline, id, body));
}

/* So many bytes of a text, not in the middle of a character. */
static size_t text_cut(const char *text, size_t size_max) {
    size_t size = strlen(text);
    if (size <= size_max) return size;
    size = size_max;
    while (size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80) size--;
    return size;
}

static void write_field(byte_buffer_t *out, const char *text, size_t size_max) {
    if (text == NULL || *text == '\0') {
        byte_buffer_put_nil(out);
    } else {
        byte_buffer_put_str(out, text, text_cut(text, size_max));
    }
}

static void write_error(byte_buffer_t *out, const libpq_api_t *pq, const PGresult *error, size_t size_max) {
    const char *message = pq->PQresultErrorField(error, PG_DIAG_MESSAGE_PRIMARY);
    const char *position = pq->PQresultErrorField(error, PG_DIAG_STATEMENT_POSITION);
    const char *severity = pq->PQresultErrorField(error, PG_DIAG_SEVERITY_NONLOCALIZED);
    byte_buffer_put_array_header(out, ERROR_FIELD_COUNT);
    write_field(out, pq->PQresultErrorField(error, PG_DIAG_SQLSTATE), size_max);
    /* libpq's own errors have no fields. */
    write_field(out, message == NULL ? pq->PQresultErrorMessage(error) : message, size_max);
    write_field(out, pq->PQresultErrorField(error, PG_DIAG_MESSAGE_DETAIL), size_max);
    write_field(out, pq->PQresultErrorField(error, PG_DIAG_MESSAGE_HINT), size_max);
    if (position == NULL) {
        byte_buffer_put_nil(out);
    } else {
        byte_buffer_put_uint(out, strtoull(position, NULL, 10));
    }
    write_field(out, severity == NULL ? pq->PQresultErrorField(error, PG_DIAG_SEVERITY) : severity, size_max);
}

static void write_no_memory(byte_buffer_t *out) {
    byte_buffer_put_array_header(out, ERROR_FIELD_COUNT);
    write_field(out, "53200", ERROR_FIELD_BYTES_MAX);
    write_field(out, "out of memory for the result, which the server had given", ERROR_FIELD_BYTES_MAX);
    for (int i = 0; i < 3; i++) byte_buffer_put_nil(out);
    write_field(out, "ERROR", ERROR_FIELD_BYTES_MAX);
}

static bool put_refusal(answer_batch_t *batch, int32_t id, const byte_buffer_t *body) {
    if (!batch_open(batch)) return false;
    if (body->size > batch->room.output_size - batch->used) {
        if (!answer_batch_tell(batch) || !batch_open(batch)) return false;
    }
    memcpy(batch->room.output + batch->used, body->bytes, body->size);
    batch_add(batch, id, ANSWER_REFUSED, batch->used + body->size);
    return true;
}

static bool put_error(answer_batch_t *batch, int32_t id, const PGresult *error) {
    byte_buffer_t body;
    if (!batch_open(batch)) return false;
    size_t part = batch->room.output_size / ERROR_ROOM_PARTS;
    byte_buffer_init(&body, batch->room.output_size);
    write_error(&body, batch->pipeline->connection.pq, error, part < ERROR_FIELD_BYTES_MAX ? part : ERROR_FIELD_BYTES_MAX);
    bool is_put = body.status == BUFFER_OK ? put_refusal(batch, id, &body) : put_kind(batch, id, ANSWER_REFUSED);
    byte_buffer_free(&body);
    return is_put;
}

static bool put_no_memory(answer_batch_t *batch, int32_t id) {
    byte_buffer_t body;
    byte_buffer_init(&body, ERROR_FIELD_BYTES_MAX);
    write_no_memory(&body);
    bool is_put = body.status == BUFFER_OK ? put_refusal(batch, id, &body) : put_kind(batch, id, ANSWER_REFUSED);
    byte_buffer_free(&body);
    return is_put;
}

static bool put_kind(answer_batch_t *batch, int32_t id, answer_kind_t kind) {
    if (!batch_open(batch)) return false;
    batch_add(batch, id, kind, batch->used);
    return true;
}

/* Room for one more answer's words. */
static bool batch_open(answer_batch_t *batch) {
    if (batch->room.output != NULL && batch->count == batch->room.answer_count_max && !answer_batch_tell(batch)) {
        return false;
    }
    if (batch->room.output != NULL) return true;
    bool has_room = batch->pipeline->events->on_room(batch->pipeline, &batch->room);
    if (!has_room) {
        batch->room.output = NULL;
        batch->is_silent = true;
    }
    return has_room;
}

static void batch_add(answer_batch_t *batch, int32_t id, answer_kind_t kind, size_t end) {
    int32_t *words = batch->room.answers + (size_t)batch->count * ANSWER_WORDS;
    words[0] = id;
    words[1] = (int32_t)kind;
    words[2] = (int32_t)batch->used;
    words[3] = (int32_t)end;
    batch->used = end;
    batch->count++;
}

static bool batch_after_telling(answer_batch_t *batch, bool is_told) {
    if (!is_told) batch->is_silent = true;
    return is_told && batch->pipeline->connection.generation == batch->generation;
}

/* The statement's own, which is that of its first result, or one of this result alone. */
static const shape_t *shape_of(const pending_t *entry, const libpq_api_t *pq, const PGresult *result, shape_t **own) {
    statement_t *statement = entry->statement;
    if (statement != NULL && statement->shape == NULL && statement->state == STATEMENT_PREPARED) {
        statement_describe(statement, shape_create(pq, result));
    }
    if (statement != NULL && statement->shape != NULL && shape_matches(statement->shape, pq, result)) {
        return statement->shape;
    }
    *own = shape_create(pq, result);
    return *own;
}
