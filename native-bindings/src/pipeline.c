/** pipeline: see the header. Here: its life and what goes out.
 *  Owns: as there.   Thread: the loop's own.
 *  Holds: a request that may have reached the server, sync and all, is pending: never said to be refused. */
#define _GNU_SOURCE /* POLLRDHUP */
#include "pipeline.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

/* What may gather before it is sent, well below libpq's own 64 KiB; and about what the messages of a request take. */
#define GATHERED_BYTES_MAX (32 * 1024)
#define MESSAGES_BYTES 128

static void pipeline_on_connected(connection_t *connection, bool is_ok);
static void pipeline_on_active(connection_t *connection, bool is_active);
static void pipeline_on_notice(void *context, const PGresult *notice);
static bool pipeline_open(pipeline_t *pipeline);
static bool pipeline_is_ready(pipeline_t *pipeline);
static void pipeline_gather(pipeline_t *pipeline, size_t text_bytes, int count, const char *const *values,
                            const int *lengths, const int *formats);
static send_status_t pipeline_sync(pipeline_t *pipeline, int32_t id, pending_kind_t kind, statement_t *statement,
                                   bool is_sent);
static bool pipeline_send_close(pipeline_t *pipeline, const char *name);
static void pipeline_clear(pipeline_t *pipeline);
static bool is_hung_up(int descriptor);

static const connection_events_t connection_events = {pipeline_on_connected, pipeline_on_ready, pipeline_on_active};

void pipeline_init(pipeline_t *pipeline, handle_group_t *group, const libpq_api_t *pq,
                   const pipeline_events_t *events, const char *source, size_t bytes_max) {
    memset(pipeline, 0, sizeof *pipeline);
    connection_init(&pipeline->connection, group, pq, &connection_events);
    connection_hold(&pipeline->connection, HOLD_NOT);
    pipeline->events = events;
    pipeline->bytes_max = bytes_max;
    snprintf(pipeline->source, sizeof pipeline->source, "%s", source);
}

bool pipeline_connect(pipeline_t *pipeline, const char *text, const conninfo_hosts_t *hosts) {
    pipeline_clear(pipeline);
    return connection_start(&pipeline->connection, text, hosts);
}

bool pipeline_define(pipeline_t *pipeline, uint32_t slot, const char *name, const char *text) {
    return statement_table_define(&pipeline->statements, slot, name, text);
}

void pipeline_forget(pipeline_t *pipeline, uint32_t slot) {
    statement_t *statement = statement_table_take(&pipeline->statements, slot);
    if (statement != NULL && statement->state != STATEMENT_UNPREPARED && pipeline_is_ready(pipeline)) {
        pipeline_sync(pipeline, 0, PENDING_CLOSE, NULL, pipeline_send_close(pipeline, statement->name));
    }
    statement_release(statement);
}

send_status_t pipeline_execute(pipeline_t *pipeline, statement_t *statement, int32_t id, const unsigned char *bytes,
                               size_t size) {
    msgpack_parameters_t *parameters = &pipeline->parameters;
    if (!pipeline_is_ready(pipeline)) return SEND_REFUSED;
    if (msgpack_parameters_read(parameters, bytes, size) != MSGPACK_READ) return SEND_NEEDS_VALUES;
    send_status_t status = pipeline_execute_values(pipeline, statement, id, parameters->count, parameters->values,
                                                   parameters->lengths, parameters->formats);
    msgpack_parameters_trim(parameters);
    return status;
}

send_status_t pipeline_execute_values(pipeline_t *pipeline, statement_t *statement, int32_t id, int count,
                                      const char *const *values, const int *lengths, const int *formats) {
    const libpq_api_t *pq = pipeline->connection.pq;
    PGconn *handle = pipeline->connection.handle;
    if (!pipeline_is_ready(pipeline)) return SEND_REFUSED;
    bool is_sent = true;
    pending_kind_t kind = PENDING_EXECUTE;
    if (statement->state == STATEMENT_UNPREPARED) {
        kind = PENDING_PREPARE;
        /* No Describe: the first result has the columns, and libpq takes a description of more than 7498 parameters for
         * garbage and gives the connection up. */
        is_sent = pq->PQsendPrepare(handle, statement->name, statement->text, 0, NULL) == 1;
    }
    is_sent = is_sent && pq->PQsendQueryPrepared(handle, statement->name, count, values, lengths, formats,
                                                 statement->result_format) == 1;
    send_status_t status = pipeline_sync(pipeline, id, kind, statement, is_sent);
    pipeline_gather(pipeline, kind == PENDING_PREPARE ? strlen(statement->text) : 0, count, values, lengths, formats);
    if (status == SEND_DONE && kind == PENDING_PREPARE) statement->state = STATEMENT_PREPARING;
    return status;
}

/* libpq flushes by itself when much has gathered; it is done before, so that what was handed out is known. */
static void pipeline_gather(pipeline_t *pipeline, size_t text_bytes, int count, const char *const *values,
                            const int *lengths, const int *formats) {
    size_t bytes = text_bytes + MESSAGES_BYTES;
    for (int i = 0; i < count; i++) {
        if (values[i] != NULL) bytes += formats[i] == 1 ? (size_t)lengths[i] : strlen(values[i]);
    }
    pipeline->gathered_bytes += bytes;
    if (pipeline->gathered_bytes >= GATHERED_BYTES_MAX) pipeline_flush(pipeline);
}

send_status_t pipeline_run(pipeline_t *pipeline, int32_t id, const char *text) {
    const libpq_api_t *pq = pipeline->connection.pq;
    PGconn *handle = pipeline->connection.handle;
    if (!pipeline_is_ready(pipeline)) return SEND_REFUSED;
    bool is_sent = pq->PQsendQueryParams(handle, text, 0, NULL, NULL, NULL, NULL, 0) == 1;
    return pipeline_sync(pipeline, id, PENDING_EXECUTE, NULL, is_sent);
}

void pipeline_flush(pipeline_t *pipeline) {
    connection_t *connection = &pipeline->connection;
    if (!pipeline->is_open || pipeline->is_broken) return;
    if (is_hung_up(connection->pq->PQsocket(connection->handle))) return; /* reading will come to the end */
    pipeline->unsent_at = pipeline->pending.popped_count + pipeline->pending.count;
    pipeline->gathered_bytes = 0;
    int left = connection->pq->PQflush(connection->handle);
    connection_settle(connection);
    if (left == 0 && connection->watch != NULL) {
        if (!pipeline->is_reading) pipeline_look_again(pipeline);
        return;
    }
    if (left == 1 && connection_want(connection, POLL_WRITABLE, 0)) return;
    pipeline_break(pipeline, connection_problem(connection), "");
}

/* libpq goes on reading when a write has failed, and what it reads in such a call, beside the end of the connection, it gives
 * to nobody: answers would be lost. So nothing is written to a connection that the server has closed; what has not been
 * written by then never reached it. */
static bool is_hung_up(int descriptor) {
    struct pollfd asked = {.fd = descriptor, .events = POLLRDHUP};
    return poll(&asked, 1, 0) == 1 && (asked.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

uint32_t pipeline_unsent_count(const pipeline_t *pipeline) {
    return pending_queue_count_from(&pipeline->pending, pipeline->unsent_at);
}

void pipeline_finish(pipeline_t *pipeline) {
    pipeline_clear(pipeline);
    connection_finish(&pipeline->connection);
}

void pipeline_destroy(pipeline_t *pipeline) {
    pipeline_clear(pipeline);
    statement_table_free(&pipeline->statements);
    msgpack_parameters_free(&pipeline->parameters);
    connection_destroy(&pipeline->connection);
}

/* The connection's end is told from the loop, never from within a call of the user. */
void pipeline_break(pipeline_t *pipeline, const char *problem, const char *sql_state) {
    if (pipeline->is_broken) return;
    pipeline->is_broken = true;
    if (pipeline->problem[0] == '\0') { /* else the server has said why */
        snprintf(pipeline->problem, sizeof pipeline->problem, "%s", problem);
        snprintf(pipeline->sql_state, sizeof pipeline->sql_state, "%s", sql_state);
    }
    connection_wake(&pipeline->connection);
}

static void pipeline_on_connected(connection_t *connection, bool is_ok) {
    pipeline_t *pipeline = (pipeline_t *)connection;
    if (is_ok && pipeline_open(pipeline)) {
        pipeline->events->on_connected(pipeline, NULL);
        return;
    }
    char problem[PROBLEM_BYTES_MAX];
    snprintf(problem, sizeof problem, "%s", connection_problem(connection));
    pipeline_finish(pipeline);
    pipeline->events->on_connected(pipeline, problem);
}

static bool pipeline_open(pipeline_t *pipeline) {
    connection_t *connection = &pipeline->connection;
    const libpq_api_t *pq = connection->pq;
    bool is_ok = pq->PQsetnonblocking(connection->handle, 1) == 0 && pq->PQenterPipelineMode(connection->handle) == 1 &&
                 connection_want(connection, POLL_READABLE, 0);
    if (!is_ok) return false;
    pq->PQsetNoticeReceiver(connection->handle, pipeline_on_notice, pipeline);
    pipeline->is_open = true;
    return true;
}

static void pipeline_on_active(connection_t *connection, bool is_active) {
    pipeline_t *pipeline = (pipeline_t *)connection;
    pipeline->events->on_active(pipeline, is_active);
}

/* With nothing in flight libpq takes the server's last words for a notice. */
static void pipeline_on_notice(void *context, const PGresult *notice) {
    pipeline_t *pipeline = context;
    bool is_fatal = pipeline_note_fatal(pipeline, notice);
    /* A notice of libpq's own, or an end that is no answer, while requests are out: it has lost its place, and what they came
     * to with it. Nothing is known of any. */
    bool is_own = pipeline->connection.pq->PQresultErrorField(notice, PG_DIAG_SQLSTATE) == NULL;
    if (pipeline->pending.count > 0 && (is_own || is_fatal)) pipeline->has_lost_place = true;
}

static bool pipeline_is_ready(pipeline_t *pipeline) {
    if (!pipeline->is_open || pipeline->is_broken) return false;
    /* Before release 17 each request is written at once. */
    const connection_t *connection = &pipeline->connection;
    if (!connection->pq->has_release_17 && is_hung_up(connection->pq->PQsocket(connection->handle))) return false;
    return pending_queue_reserve(&pipeline->pending);
}

/* Ends the group of a request. Without its sync nothing of it is committed, so it may be called refused; once a sync was
 * handed to libpq it may have gone out, whatever libpq says of it. */
static send_status_t pipeline_sync(pipeline_t *pipeline, int32_t id, pending_kind_t kind, statement_t *statement,
                                   bool is_sent) {
    connection_t *connection = &pipeline->connection;
    const libpq_api_t *pq = connection->pq;
    bool is_synced = false;
    if (is_sent) {
        /* The older function also flushes: a system call for each request. */
        is_synced = (pq->has_release_17 ? pq->PQsendPipelineSync : pq->PQpipelineSync)(connection->handle) == 1;
        pending_queue_push(&pipeline->pending, id, kind, statement);
        if (!pq->has_release_17) pipeline->unsent_at = pipeline->pending.popped_count + pipeline->pending.count;
        connection_hold(connection, HOLD);
    }
    connection_settle(connection);
    if (!is_synced || connection->watch == NULL) pipeline_break(pipeline, connection_problem(connection), "");
    return is_sent ? SEND_DONE : SEND_REFUSED;
}

static bool pipeline_send_close(pipeline_t *pipeline, const char *name) {
    const libpq_api_t *pq = pipeline->connection.pq;
    PGconn *handle = pipeline->connection.handle;
    if (pq->has_release_17) return pq->PQsendClosePrepared(handle, name) == 1;
    char text[sizeof "deallocate " + 2 * STATEMENT_NAME_BYTES_MAX + 2];
    char *quoted = pq->PQescapeIdentifier(handle, name, strlen(name));
    if (quoted == NULL) return false;
    int size = snprintf(text, sizeof text, "deallocate %s", quoted);
    pq->PQfreemem(quoted);
    return size < (int)sizeof text && pq->PQsendQueryParams(handle, text, 0, NULL, NULL, NULL, NULL, 0) == 1;
}

/* Everything that belongs to one session of the server. */
static void pipeline_clear(pipeline_t *pipeline) {
    const libpq_api_t *pq = pipeline->connection.pq;
    pipeline->is_open = false;
    pipeline->is_broken = false;
    pipeline->problem[0] = '\0';
    pipeline->sql_state[0] = '\0';
    pipeline->has_lost_place = false;
    pq->PQclear(pipeline->held);
    pipeline->held = NULL;
    pipeline->is_parsed = false;
    pipeline->is_executed = false;
    if (pipeline->own_cancel != NULL) cancel_request_close(pipeline->own_cancel);
    pipeline->is_cancelling = false;
    pipeline->may_hit_another = false;
    pending_queue_clear(&pipeline->pending);
    pipeline->unsent_at = pipeline->pending.popped_count;
    pipeline->gathered_bytes = 0;
    pipeline->measured = pipeline->pending.popped_count - 1;
    statement_table_reset(&pipeline->statements);
    connection_hold(&pipeline->connection, HOLD_NOT);
}
