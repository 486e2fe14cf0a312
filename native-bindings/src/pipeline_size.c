/** pipeline_size: keeps one result from taking all memory: libpq holds a result whole before anybody sees it.
 *  Owns:   how much was received for the oldest request, and the cancellation that follows.
 *  Thread: the loop's own.
 *  Holds:  (1) a result of many rows is cancelled when about SIZE_CANCEL_FACTOR times what a body may have has come of it, and
 *          if that does not help, the connection is given up at SIZE_BREAK_FACTOR times.  (2) whoever else the cancellation
 *          hits is answered ABORTED: nothing of it stands, and it may be sent again.
 *
 *  Counted is what leaves the socket's buffer while the oldest request stays the same: two small system calls an event, and
 *  none for a request that is answered in the first event. What comes in between the two is not counted, so the bound is an
 *  estimate; for a single row of many megabytes it is none, since libpq makes room for the whole message and the server sends
 *  it whole: Postgres' own limit of 1 GB for a value is the bound there.
 *
 *  libpq 17's PQsetChunkedRowsMode would hand such a result over in parts, but has to be asked for before the first row: a
 *  second PGresult for each request, a tenth of the client's time for point selects (bench/micro/pipeline.bench.ts, 100 in
 *  flight). So it is not used. */
#include <string.h>
#include <sys/ioctl.h>

#include "pipeline.h"

#define SIZE_CANCEL_FACTOR 2
#define SIZE_BREAK_FACTOR 8
#define CANCELLED "57014"
#define PROGRAM_LIMIT_EXCEEDED "54000"

static int bytes_waiting(const pipeline_t *pipeline);
static void cancel_head(pipeline_t *pipeline);
static void on_cancel_end(void *owner, cancel_end_t end, const char *problem);

void pipeline_consume(pipeline_t *pipeline) {
    connection_t *connection = &pipeline->connection;
    bool is_measured = pipeline->measured == pipeline->pending.popped_count;
    int before = is_measured ? bytes_waiting(pipeline) : 0;
    int is_ok = connection->pq->PQconsumeInput(connection->handle);
    if (is_measured) {
        int after = bytes_waiting(pipeline);
        if (after < before) pipeline->head_bytes += (size_t)(before - after);
    }
    connection_settle(connection);
    if (is_ok != 1) pipeline_break(pipeline, connection_problem(connection), "");
}

/* After each event, when everything complete was taken. */
void pipeline_guard_size(pipeline_t *pipeline) {
    uint32_t head = pipeline->pending.popped_count;
    if (pipeline->pending.count == 0) return;
    if (pipeline->measured != head) {
        pipeline->measured = head;
        pipeline->head_bytes = 0;
        return;
    }
    bool is_cancelled = pipeline->is_cancelling && pipeline->cancelled == head;
    if (pipeline->head_bytes / SIZE_BREAK_FACTOR > pipeline->bytes_max) {
        pipeline_break(pipeline, "one result grew far beyond what is allowed, and would not be cancelled",
                       PROGRAM_LIMIT_EXCEEDED);
    } else if (pipeline->head_bytes / SIZE_CANCEL_FACTOR > pipeline->bytes_max && !is_cancelled) {
        cancel_head(pipeline);
    }
}

answer_kind_t pipeline_kind_of_error(pipeline_t *pipeline, uint32_t number, const PGresult *error) {
    const char *sql_state = pipeline->connection.pq->PQresultErrorField(error, PG_DIAG_SQLSTATE);
    if (sql_state == NULL || strcmp(sql_state, CANCELLED) != 0) return ANSWER_REFUSED;
    if (pipeline->is_cancelling && pipeline->cancelled == number) {
        pipeline->is_cancelling = false;
        pipeline->may_hit_another = false;
        return ANSWER_TOO_LARGE;
    }
    bool is_hit = pipeline->may_hit_another && (int32_t)(number - pipeline->cancel_end) < 0;
    if (!is_hit) return ANSWER_REFUSED;
    pipeline->may_hit_another = false;
    return ANSWER_ABORTED;
}

static int bytes_waiting(const pipeline_t *pipeline) {
    int count = 0;
    int descriptor = pipeline->connection.pq->PQsocket(pipeline->connection.handle);
    return descriptor >= 0 && ioctl(descriptor, FIONREAD, &count) == 0 ? count : 0;
}

/* Nothing is read until the server has the request: it waits with its full socket, and so is still at this result when it is
 * told. A result whose end is already in the socket is over, and the cancellation may hit what runs next. */
static void cancel_head(pipeline_t *pipeline) {
    connection_t *connection = &pipeline->connection;
    char problem[256];
    if (pipeline->own_cancel != NULL) return;
    pipeline->own_cancel = cancel_request_start(connection->group, connection->pq, connection->handle, on_cancel_end,
                                                pipeline, problem, sizeof problem);
    if (pipeline->own_cancel == NULL) return; /* tried again at the next event */
    pipeline->is_cancelling = true;
    pipeline->cancelled = pipeline->pending.popped_count;
    pipeline->may_hit_another = true;
    pipeline->cancel_end = pipeline->pending.popped_count + pipeline->pending.count;
    connection_want(connection, 0, POLL_READABLE);
}

static void on_cancel_end(void *owner, cancel_end_t end, const char *problem) {
    (void)problem;
    pipeline_t *pipeline = owner;
    pipeline->own_cancel = NULL;
    if (end == CANCEL_DROPPED) return;
    if (end == CANCEL_FAILED) pipeline->is_cancelling = false; /* tried again at the next event */
    pipeline->cancel_end = pipeline->pending.popped_count + pipeline->pending.count;
    if (!connection_want(&pipeline->connection, POLL_READABLE, 0)) {
        pipeline_break(pipeline, connection_problem(&pipeline->connection), "");
    }
}
