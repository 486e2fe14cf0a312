/** pipeline_read: what comes in, taken apart into the answers of requests.
 *  Owns:   the order of results within a group.   Not here: bodies (answer_batch.c), sizes (pipeline_size.c).
 *  Thread: the loop's own.
 *  Holds:  (1) PQgetResult is only called when it will not block.  (2) after each telling everything is looked at anew: the
 *          user may have finished the pipeline, or connected it again.
 *
 *  The results of a group, each followed by a NULL, then its sync:
 *      execute: [Execute] sync      prepare: [Parse] [Execute] sync      close: [Close] sync
 *  After an error the rest of its group is PIPELINE_ABORTED. A deferred constraint fails after Execute, before the sync. */
#include <stdio.h>
#include <string.h>

#include "answer_batch.h"

#define UNKNOWN_STATEMENT "26000"
#define ADMIN_SHUTDOWN "57P01"
#define NOT_SUPPORTED "0A000"

static bool pipeline_read(pipeline_t *pipeline, int events);
static void take_results(pipeline_t *pipeline, answer_batch_t *batch);
static bool take_result(pipeline_t *pipeline, answer_batch_t *batch, PGresult *result);
static void take_answer(pipeline_t *pipeline, PGresult *result);
static void take_error(pipeline_t *pipeline, PGresult *error);
static bool is_about_statement(const libpq_api_t *pq, const PGresult *error, const statement_t *statement);
static bool take_sync(pipeline_t *pipeline, answer_batch_t *batch);
static void drain_notifications(pipeline_t *pipeline);
static bool pipeline_lose(pipeline_t *pipeline);

bool pipeline_on_ready(connection_t *connection, int events) {
    pipeline_t *pipeline = (pipeline_t *)connection;
    if (!pipeline->is_open) return true;
    pipeline->is_reading = true;
    bool is_told = pipeline_read(pipeline, events);
    pipeline->is_reading = false;
    return is_told;
}

void pipeline_look_again(pipeline_t *pipeline) {
    const connection_t *connection = &pipeline->connection;
    if (pipeline->pending.count > 0 && !connection->pq->PQisBusy(connection->handle)) {
        connection_wake(&pipeline->connection);
    }
}

static bool pipeline_read(pipeline_t *pipeline, int events) {
    connection_t *connection = &pipeline->connection;
    answer_batch_t batch = {.pipeline = pipeline, .generation = connection->generation};
    if (events & POLL_WRITABLE) pipeline_flush(pipeline);
    if (events & POLL_READABLE) pipeline_consume(pipeline);
    /* Also when only writable: a send that finds the socket full reads, lest both sides wait for each other. */
    take_results(pipeline, &batch);
    if (batch.is_silent) return false;
    if (connection->generation != batch.generation) return true;
    if (!answer_batch_tell(&batch)) return !batch.is_silent;
    drain_notifications(pipeline);
    if (pipeline->is_broken) return pipeline_lose(pipeline);
    pipeline_guard_size(pipeline);
    pipeline_look_again(pipeline);
    if (pipeline->pending.count == 0) connection_hold(connection, HOLD_NOT);
    return true;
}

bool pipeline_note_fatal(pipeline_t *pipeline, const PGresult *error) {
    const libpq_api_t *pq = pipeline->connection.pq;
    const char *severity = pq->PQresultErrorField(error, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (severity == NULL) severity = pq->PQresultErrorField(error, PG_DIAG_SEVERITY);
    if (severity == NULL || (strcmp(severity, "FATAL") != 0 && strcmp(severity, "PANIC") != 0)) return false;
    const char *message = pq->PQresultErrorField(error, PG_DIAG_MESSAGE_PRIMARY);
    const char *sql_state = pq->PQresultErrorField(error, PG_DIAG_SQLSTATE);
    snprintf(pipeline->problem, sizeof pipeline->problem, "%s", message == NULL ? severity : message);
    snprintf(pipeline->sql_state, sizeof pipeline->sql_state, "%s", sql_state == NULL ? "" : sql_state);
    return true;
}

static void take_results(pipeline_t *pipeline, answer_batch_t *batch) {
    const libpq_api_t *pq = pipeline->connection.pq;
    PGconn *handle = pipeline->connection.handle;
    int empty_count = 0;
    while (pipeline->pending.count > 0 && !pq->PQisBusy(handle)) {
        PGresult *result = pq->PQgetResult(handle);
        if (result == NULL && ++empty_count == 2) break;
        if (result == NULL) continue;
        empty_count = 0;
        if (!take_result(pipeline, batch, result)) return;
    }
    connection_settle(&pipeline->connection);
    bool is_over = pq->PQstatus(handle) != CONNECTION_OK || pipeline->connection.watch == NULL;
    if (is_over || empty_count == 2) pipeline_break(pipeline, pq->PQerrorMessage(handle), "");
}

/* False: stop. */
static bool take_result(pipeline_t *pipeline, answer_batch_t *batch, PGresult *result) {
    const libpq_api_t *pq = pipeline->connection.pq;
    switch (pq->PQresultStatus(result)) {
        case PGRES_PIPELINE_SYNC:
            pq->PQclear(result);
            return take_sync(pipeline, batch);
        case PGRES_EMPTY_QUERY:
        case PGRES_COMMAND_OK:
        case PGRES_TUPLES_OK:
            take_answer(pipeline, result);
            return true;
        case PGRES_COPY_OUT:
        case PGRES_COPY_IN:
        case PGRES_COPY_BOTH:
            /* The server takes what follows, syncs too, for data: the requests behind cannot be told apart any more. */
            pq->PQclear(result);
            pipeline_break(pipeline, "COPY was sent on a connection that many requests share", NOT_SUPPORTED);
            return false;
        case PGRES_PIPELINE_ABORTED:
            if (pipeline->held == NULL) {
                pipeline->held = result;
            } else {
                pq->PQclear(result);
            }
            return true;
        default:
            take_error(pipeline, result);
            return true;
    }
}

static void take_answer(pipeline_t *pipeline, PGresult *result) {
    const libpq_api_t *pq = pipeline->connection.pq;
    const pending_t *entry = pending_queue_head(&pipeline->pending);
    bool is_parse = entry->kind == PENDING_PREPARE && !pipeline->is_parsed;
    if (is_parse) {
        pipeline->is_parsed = true;
        entry->statement->state = STATEMENT_PREPARED;
        pq->PQclear(result);
    } else {
        pq->PQclear(pipeline->held);
        pipeline->held = result;
        pipeline->is_executed = true;
    }
}

static void take_error(pipeline_t *pipeline, PGresult *error) {
    const libpq_api_t *pq = pipeline->connection.pq;
    const pending_t *entry = pending_queue_head(&pipeline->pending);
    statement_t *statement = entry->statement;
    pipeline_note_fatal(pipeline, error);
    bool is_parse = entry->kind == PENDING_PREPARE && !pipeline->is_parsed;
    if (is_parse && statement->state == STATEMENT_PREPARING) statement_unprepare(statement);
    if (!is_parse && statement != NULL && statement->state == STATEMENT_PREPARED &&
        is_about_statement(pq, error, statement)) {
        statement_unprepare(statement);
    }
    bool is_first = pipeline->held == NULL || pq->PQresultStatus(pipeline->held) != PGRES_FATAL_ERROR;
    if (is_first) {
        pq->PQclear(pipeline->held);
        pipeline->held = error;
    } else {
        pq->PQclear(error);
    }
}

/* The server has it no longer (`deallocate all`, a pooler between). A function may fail so for a statement of its own. */
static bool is_about_statement(const libpq_api_t *pq, const PGresult *error, const statement_t *statement) {
    const char *sql_state = pq->PQresultErrorField(error, PG_DIAG_SQLSTATE);
    const char *message = pq->PQresultErrorField(error, PG_DIAG_MESSAGE_PRIMARY);
    return sql_state != NULL && strcmp(sql_state, UNKNOWN_STATEMENT) == 0 && message != NULL &&
           strstr(message, statement->name) != NULL;
}

static bool take_sync(pipeline_t *pipeline, answer_batch_t *batch) {
    uint32_t number = pipeline->pending.popped_count;
    pending_t entry = pending_queue_pop(&pipeline->pending);
    PGresult *result = pipeline->held;
    bool may_go_on = true;
    pipeline->held = NULL;
    pipeline->is_parsed = false;
    pipeline->is_executed = false;
    if (entry.kind == PENDING_CLOSE) {
        pipeline->connection.pq->PQclear(result);
    } else {
        may_go_on = answer_batch_put(batch, &entry, number, result);
    }
    statement_release(entry.statement);
    return may_go_on;
}

/* With nothing in flight this is where libpq reads what has come, and where it closes its socket if that is nonsense: a watch
 * that stayed on the closed descriptor would refuse the next connection to get its number. */
static void drain_notifications(pipeline_t *pipeline) {
    connection_t *connection = &pipeline->connection;
    const libpq_api_t *pq = connection->pq;
    PGnotify *notification;
    while ((notification = pq->PQnotifies(connection->handle)) != NULL) pq->PQfreemem(notification);
    connection_settle(connection);
    if (connection->watch == NULL) pipeline_break(pipeline, pq->PQerrorMessage(connection->handle), "");
}

static bool pipeline_lose(pipeline_t *pipeline) {
    char problem[PROBLEM_BYTES_MAX];
    char sql_state[SQL_STATE_BYTES];
    memcpy(problem, pipeline->problem, sizeof problem);
    memcpy(sql_state, pipeline->sql_state, sizeof sql_state);
    if (pipeline->has_lost_place) sql_state[0] = '\0';
    lost_t lost = {
        .problem = problem,
        .sql_state = sql_state,
        .unsent_count = pipeline_unsent_count(pipeline),
        .is_oldest_undone = strcmp(sql_state, ADMIN_SHUTDOWN) == 0 && !pipeline->is_executed,
    };
    pipeline_finish(pipeline);
    return pipeline->events->on_lost(pipeline, &lost);
}
