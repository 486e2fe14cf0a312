/** connection: one libpq connection on one event loop. Plain C: what happens is told through `connection_events_t`.
 *  Owns:   the PGconn, the last PGresult, the watch on its socket.
 *  Thread: the loop's own; the thread that made it.
 *  Holds:  (1) the watched descriptor is always libpq's present socket: whenever libpq may have closed it,
 *          connection_settle() runs before the loop does. (2) Closed for good by the group at the end of its thread.
 *
 *      idle ──start──▶ connecting ──ok──▶ open ──finish──▶ idle
 *                          └────failed──────▶ failed ──finish──▶ idle */
#ifndef HEARTH_CONNECTION_H
#define HEARTH_CONNECTION_H

#include "conninfo.h"
#include "handle_group.h"
#include "loop_timer.h"
#include "poll_watch.h"

typedef struct connection connection_t;

typedef struct connection_events {
    /** The attempt that connection_start() began is over. */
    void (*on_connected)(connection_t *connection, bool is_ok);
    /** The socket is ready for what was asked, or broken. False: the owner cannot be told (its thread is ending). */
    bool (*on_ready)(connection_t *connection, int events);
    /** Whether the loop may call back: the owner must stay reachable from now on, or need not any more. */
    void (*on_active)(connection_t *connection, bool is_active);
} connection_events_t;

/** What keeps the loop alive and the owner reachable, besides an attempt to connect: the wish to be told of the socket, or
 *  what the owner says. */
typedef enum connection_hold { HOLD_WHILE_WANTED, HOLD, HOLD_NOT } connection_hold_t;

struct connection {
    group_member_t member; /* first: the group's list leads here */
    handle_group_t *group; /* NULL once the thread's end has closed it */
    const libpq_api_t *pq;
    const connection_events_t *events;
    PGconn *handle;
    PGresult *result;
    poll_watch_t *watch;
    loop_timer_t *wake; /* connection_wake() was called */
    int wanted;          /* POLL_READABLE | POLL_WRITABLE */
    unsigned generation; /* of the PGconn: an address is used again, this number is not */
    connection_hold_t hold;
    bool is_connecting;
    bool is_active;
    char problem[PROBLEM_BYTES_MAX]; /* why there is no PGconn */
};

void connection_init(connection_t *connection, handle_group_t *group, const libpq_api_t *pq,
                     const connection_events_t *events);
/** Begins to connect without blocking. False when it failed at once; connection_problem() says why. */
bool connection_start(connection_t *connection, const char *text, const conninfo_hosts_t *hosts);
/** Connects while the thread waits. */
bool connection_open(connection_t *connection, const char *text, const conninfo_hosts_t *hosts);
/** Ends an attempt that takes too long; on_connected is not called. */
void connection_abandon(connection_t *connection, const char *problem);
/** Adds and removes what the socket is watched for. False when there is no socket to watch. */
bool connection_want(connection_t *connection, int add, int remove);
/** To be called after every libpq call that may read or write: drops the watch of a socket that libpq has closed. */
void connection_settle(connection_t *connection);
/** With HOLD_NOT the socket is watched in the background: the loop may end, and the owner be collected. */
void connection_hold(connection_t *connection, connection_hold_t hold);
/** Has on_ready called for reading in the loop's next turn, also when there is no socket any more. */
void connection_wake(connection_t *connection);
/** Keeps `result` as the last one and clears the one before. */
void connection_keep(connection_t *connection, PGresult *result);
const char *connection_problem(const connection_t *connection);
/** Closes everything; the connection can be started again. */
void connection_finish(connection_t *connection);
/** connection_finish(), and off the group's list. */
void connection_destroy(connection_t *connection);

#endif
