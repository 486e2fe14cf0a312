/** pipeline: a connection that many requests share: each a statement of its own, sent without waiting for those before.
 *  Plain C.
 *  Owns:   the connection, what was sent and not answered yet, its prepared statements.
 *  Thread: the loop's own.
 *  Holds:  (1) each request is a sync group of its own: its own transaction, its own error.
 *          (2) it is answered once, when its sync has arrived, in the order of sending; or on_lost says that the
 *          connection is gone, and the user knows what was out.
 *          (3) the user may call anything here from within its events; after pipeline_finish() nothing is told any more.
 *
 *      closed ──connect──▶ connecting ──ok──▶ open ──finish, lost──▶ closed */
#ifndef HEARTH_PIPELINE_H
#define HEARTH_PIPELINE_H

#include "cancel_request.h"
#include "connection.h"
#include "msgpack_parameters.h"
#include "pending_queue.h"

#define SQL_STATE_BYTES 6
#define SOURCE_BYTES_MAX 64

typedef struct pipeline pipeline_t;

typedef enum send_status { SEND_DONE = 0, SEND_NEEDS_VALUES = 1, SEND_REFUSED = -1 } send_status_t;

/** ROWS: a body as result_encode.h says · REFUSED: [sqlState, message, detail, hint, position, severity] · TOO_LARGE: the
 *  statement ran, or was cancelled while it answered · ABORTED: nothing of it stands, for a reason that is not its own. */
typedef enum answer_kind { ANSWER_ROWS = 0, ANSWER_REFUSED, ANSWER_TOO_LARGE, ANSWER_ABORTED } answer_kind_t;

/** Where answers go: bodies one after the other into `output`; [id, kind, start, end] each into `answers`. */
typedef struct answer_room {
    unsigned char *output;
    size_t output_size;
    int32_t *answers;
    uint32_t answer_count_max;
} answer_room_t;

#define ANSWER_WORDS 4

/** The end of a connection. */
typedef struct lost {
    const char *problem;
    /** The server's, or ''. With one, all that the server had done was told, and it has read nothing behind the oldest. */
    const char *sql_state;
    /** So many of the youngest requests that are out were never handed to the socket. */
    uint32_t unsent_count;
    /** The server ended its session instead of carrying out the oldest, or while it did: an autocommit statement is committed
     *  after it was answered, so nothing of this one stands. */
    bool is_oldest_undone;
} lost_t;

/** Those that return bool: false when the user cannot be told (its thread is ending). */
typedef struct pipeline_events {
    /** The attempt that pipeline_connect() began is over; NULL: it is open. */
    void (*on_connected)(pipeline_t *pipeline, const char *problem);
    /** Asks for the room, which must stay until on_answers() or the end of the event. */
    bool (*on_room)(pipeline_t *pipeline, answer_room_t *room);
    /** So many answers stand in the room, to be taken now. */
    bool (*on_answers)(pipeline_t *pipeline, uint32_t count);
    /** The ROWS body of a result that is larger than `output`. */
    bool (*on_large)(pipeline_t *pipeline, int32_t id, const byte_buffer_t *body);
    /** The connection is gone, and with it whatever is out. */
    bool (*on_lost)(pipeline_t *pipeline, const lost_t *lost);
    void (*on_active)(pipeline_t *pipeline, bool is_active);
} pipeline_events_t;

struct pipeline {
    connection_t connection; /* first: its events lead here */
    const pipeline_events_t *events;
    pending_queue_t pending;
    statement_table_t statements;
    msgpack_parameters_t parameters;
    char source[SOURCE_BYTES_MAX];
    size_t bytes_max; /* of a ROWS body */
    bool is_open;
    bool is_broken; /* to be told as lost in the loop's next turn */
    uint32_t unsent_at;    /* from this request's number on nothing was handed to the socket */
    size_t gathered_bytes; /* since then */
    bool is_reading;
    char problem[PROBLEM_BYTES_MAX];
    char sql_state[SQL_STATE_BYTES];
    bool has_lost_place; /* libpq gave answers to nobody */

    /* of the oldest request */
    PGresult *held;    /* its answer, until its sync */
    bool is_parsed;    /* its group's Parse is answered */
    bool is_executed;  /* its group's Execute is answered, without an error */
    uint32_t measured; /* its number (popped_count) when it was last found incomplete */
    size_t head_bytes; /* received for it since then */

    /* when a result grows too large: pipeline_size.c */
    cancel_request_t *own_cancel;
    bool is_cancelling;    /* for `cancelled`, from the request to its answer */
    uint32_t cancelled;    /* number of the request that is meant */
    bool may_hit_another;  /* requests before `cancel_end` */
    uint32_t cancel_end;
};

void pipeline_init(pipeline_t *pipeline, handle_group_t *group, const libpq_api_t *pq,
                   const pipeline_events_t *events, const char *source, size_t bytes_max);
/** Begins to connect. False when that failed at once, with connection_problem(); on_connected is not called then. */
bool pipeline_connect(pipeline_t *pipeline, const char *text, const conninfo_hosts_t *hosts);
/** Fills an empty slot. Nothing is sent. False when memory is out. */
bool pipeline_define(pipeline_t *pipeline, uint32_t slot, const char *name, const char *text);
/** Empties a slot, and closes the statement at the server if it may be there. */
void pipeline_forget(pipeline_t *pipeline, uint32_t slot);
/** The slot must be defined. SEND_NEEDS_VALUES: nothing was sent, msgpack_parameters.h says why. SEND_REFUSED: not open,
 *  or PENDING_COUNT_MAX are out. SEND_DONE: it will be answered, unless the connection is lost. */
send_status_t pipeline_execute(pipeline_t *pipeline, statement_t *statement, int32_t id, const unsigned char *bytes,
                               size_t size);
send_status_t pipeline_execute_values(pipeline_t *pipeline, statement_t *statement, int32_t id, int count,
                                      const char *const *values, const int *lengths, const int *formats);
/** One statement without parameters that is not prepared. */
send_status_t pipeline_run(pipeline_t *pipeline, int32_t id, const char *text);
/** Sends what has gathered; what the socket does not take goes by itself. */
void pipeline_flush(pipeline_t *pipeline);
/** How many of the youngest requests were never handed to the socket. */
uint32_t pipeline_unsent_count(const pipeline_t *pipeline);
void pipeline_finish(pipeline_t *pipeline);
/** pipeline_finish(), and everything freed but the struct itself. */
void pipeline_destroy(pipeline_t *pipeline);

/* Between pipeline.c, pipeline_read.c, pipeline_answer.c and pipeline_size.c. */
bool pipeline_on_ready(connection_t *connection, int events);
void pipeline_break(pipeline_t *pipeline, const char *problem, const char *sql_state);
/** An error that ends the session: what on_lost will say. False: it is another, and not noted. */
bool pipeline_note_fatal(pipeline_t *pipeline, const PGresult *error);
/** A send that found the socket full has read, and no event will tell of what it read. */
void pipeline_look_again(pipeline_t *pipeline);
void pipeline_consume(pipeline_t *pipeline);
void pipeline_guard_size(pipeline_t *pipeline);
/** What an error means for request number `number` (popped_count): REFUSED, but for the work of an own cancellation. */
answer_kind_t pipeline_kind_of_error(pipeline_t *pipeline, uint32_t number, const PGresult *error);

#endif
