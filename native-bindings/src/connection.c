/** connection: see the header.
 *  Owns: as there.   Thread: the loop's own.   Holds: no function here blocks but connection_open(). */
#include "connection.h"

#include <stdio.h>
#include <string.h>

static bool connection_prepare(connection_t *connection, conninfo_t *info, const char *text,
                               const conninfo_hosts_t *hosts);
static void connection_on_group_close(group_member_t *member);
static void connection_on_notice(void *context, const char *message);
static void connection_advance(connection_t *connection);
static bool connection_watch(connection_t *connection, int events);
static void connection_unwatch(connection_t *connection);
static void connection_on_poll(void *owner, poll_watch_t *watch, int events);
static void connection_on_wake(void *owner);
static void connection_activate(connection_t *connection);

void connection_init(connection_t *connection, handle_group_t *group, const libpq_api_t *pq,
                     const connection_events_t *events) {
    memset(connection, 0, sizeof *connection);
    connection->pq = pq;
    connection->events = events;
    connection->group = group;
    connection->member.close = connection_on_group_close;
    handle_group_add(group, &connection->member);
}

bool connection_start(connection_t *connection, const char *text, const conninfo_hosts_t *hosts) {
    conninfo_t info;
    if (!connection_prepare(connection, &info, text, hosts)) return false;
    connection->handle = connection->pq->PQconnectStartParams(info.keywords, info.values, 0);
    conninfo_close(&info);
    if (connection->handle == NULL || connection->pq->PQstatus(connection->handle) == CONNECTION_BAD) return false;
    connection->pq->PQsetNoticeProcessor(connection->handle, connection_on_notice, NULL);
    connection->is_connecting = true;
    if (connection_watch(connection, POLL_WRITABLE)) return true;
    connection_abandon(connection, "the event loop refused to watch the connection's socket\n");
    return false;
}

bool connection_open(connection_t *connection, const char *text, const conninfo_hosts_t *hosts) {
    conninfo_t info;
    if (!connection_prepare(connection, &info, text, hosts)) return false;
    connection->handle = connection->pq->PQconnectdbParams(info.keywords, info.values, 0);
    conninfo_close(&info);
    if (connection->handle == NULL || connection->pq->PQstatus(connection->handle) != CONNECTION_OK) return false;
    connection->pq->PQsetNoticeProcessor(connection->handle, connection_on_notice, NULL);
    return true;
}

void connection_abandon(connection_t *connection, const char *problem) {
    connection_finish(connection);
    snprintf(connection->problem, sizeof connection->problem, "%s", problem);
}

bool connection_want(connection_t *connection, int add, int remove) {
    if (connection->is_connecting) return false; /* the attempt owns the watch until it is over */
    connection->wanted = (connection->wanted | add) & ~remove;
    connection_settle(connection);
    int descriptor = connection->pq->PQsocket(connection->handle);
    if (descriptor < 0) return false;
    if (connection->watch == NULL) {
        if (connection->wanted == 0) return true;
        return connection_watch(connection, connection->wanted);
    }
    bool is_set = poll_watch_set(connection->watch, connection->wanted);
    if (!is_set) connection->wanted = 0;
    connection_activate(connection);
    return is_set;
}

void connection_settle(connection_t *connection) {
    if (connection->watch == NULL || connection->is_connecting) return;
    int descriptor = connection->pq->PQsocket(connection->handle);
    if (descriptor == poll_watch_descriptor(connection->watch)) return;
    /* libpq closed the socket: to leave it in the loop's set aborts the process at the next epoll_ctl. */
    connection_unwatch(connection);
    connection->wanted = 0;
}

void connection_keep(connection_t *connection, PGresult *result) {
    connection->pq->PQclear(connection->result);
    connection->result = result;
}

void connection_hold(connection_t *connection, connection_hold_t hold) {
    if (connection->hold == hold) return;
    connection->hold = hold;
    if (connection->watch != NULL) poll_watch_keep(connection->watch, hold != HOLD_NOT);
    connection_activate(connection);
}

void connection_wake(connection_t *connection) {
    if (connection->wake != NULL || connection->group == NULL) return;
    connection->wake = loop_timer_open(connection->group, 0, connection_on_wake, connection);
    connection_activate(connection);
}

const char *connection_problem(const connection_t *connection) {
    bool has_own = connection->handle == NULL && connection->problem[0] != '\0';
    return has_own ? connection->problem : connection->pq->PQerrorMessage(connection->handle);
}

void connection_finish(connection_t *connection) {
    connection->is_connecting = false;
    connection->wanted = 0;
    if (connection->wake != NULL) loop_timer_close(connection->wake);
    connection->wake = NULL;
    connection_unwatch(connection);
    connection_keep(connection, NULL);
    PGconn *handle = connection->handle;
    connection->handle = NULL;
    connection->generation++;
    connection->problem[0] = '\0';
    connection->pq->PQfinish(handle);
}

void connection_destroy(connection_t *connection) {
    connection_finish(connection);
    handle_group_remove(&connection->member);
    connection->group = NULL;
}

static bool connection_prepare(connection_t *connection, conninfo_t *info, const char *text,
                               const conninfo_hosts_t *hosts) {
    connection_finish(connection);
    return conninfo_open(info, connection->pq, text, hosts, connection->problem, sizeof connection->problem);
}

static void connection_on_group_close(group_member_t *member) { connection_destroy((connection_t *)member); }

/* libpq's default prints notices on stderr, which belongs to the process and not to a library. */
static void connection_on_notice(void *context, const char *message) {
    (void)context;
    (void)message;
}

/* One step of an attempt. libpq may close its socket and open another inside PQconnectPoll (next host, TLS refused), often
 * with the same number: so the watch is closed before the step, and a new one is opened after it. */
static void connection_advance(connection_t *connection) {
    connection_unwatch(connection);
    int step = connection->pq->PQconnectPoll(connection->handle);
    if (step == PGRES_POLLING_READING && connection_watch(connection, POLL_READABLE)) return;
    if (step == PGRES_POLLING_WRITING && connection_watch(connection, POLL_WRITABLE)) return;
    connection->is_connecting = false;
    connection->events->on_connected(connection, step == PGRES_POLLING_OK);
    connection_activate(connection);
}

static bool connection_watch(connection_t *connection, int events) {
    if (connection->group == NULL) return false;
    int descriptor = connection->pq->PQsocket(connection->handle);
    if (descriptor < 0) return false;
    connection->watch = poll_watch_open(connection->group, descriptor, connection_on_poll, connection);
    if (connection->watch == NULL) return false;
    poll_watch_keep(connection->watch, connection->hold != HOLD_NOT || connection->is_connecting);
    if (poll_watch_set(connection->watch, events)) {
        connection_activate(connection);
        return true;
    }
    connection_unwatch(connection);
    return false;
}

static void connection_unwatch(connection_t *connection) {
    if (connection->watch != NULL) poll_watch_close(connection->watch);
    connection->watch = NULL;
    connection_activate(connection);
}

static void connection_on_poll(void *owner, poll_watch_t *watch, int events) {
    connection_t *connection = owner;
    if (connection->is_connecting) {
        connection_advance(connection);
        return;
    }
    int told = events;
    if (told & POLL_BROKEN) told = connection->wanted; /* let whoever waits meet the error: a read or a write will find it */
    if (told & POLL_WRITABLE) { /* asked for once at a time, or an idle socket would spin the loop */
        connection->wanted &= ~POLL_WRITABLE;
        poll_watch_set(watch, connection->wanted);
    }
    if (!connection->events->on_ready(connection, told)) {
        if (connection->watch == watch) poll_watch_set(watch, 0);
        return;
    }
    /* The callback may have finished the connection or begun another: touch only what is still the same. */
    if (connection->watch != watch) return;
    /* libuv has stopped the watch, and what was read may have been the server's last words only: the end comes next. */
    if (events & POLL_BROKEN) poll_watch_set(watch, connection->wanted);
    connection_activate(connection);
}

static void connection_on_wake(void *owner) {
    connection_t *connection = owner;
    connection->wake = NULL;
    connection->events->on_ready(connection, POLL_READABLE);
    connection_activate(connection);
}

static void connection_activate(connection_t *connection) {
    bool is_wanted = connection->watch != NULL && connection->wanted != 0;
    bool is_held = connection->hold == HOLD_WHILE_WANTED ? is_wanted : connection->hold == HOLD;
    bool is_active = connection->is_connecting || connection->wake != NULL || is_held;
    if (connection->is_active == is_active) return;
    connection->is_active = is_active;
    connection->events->on_active(connection, is_active);
}
