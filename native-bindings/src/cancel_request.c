/** cancel_request: see the header.
 *  Owns: as there.   Thread: the loop's own.   Holds: the watch is closed before each step of libpq, as in connection.c. */
#include "cancel_request.h"

#include <stdio.h>
#include <stdlib.h>

#include "loop_timer.h"
#include "poll_watch.h"

struct cancel_request {
    group_member_t member; /* first: the group's list leads here */
    handle_group_t *group;
    const libpq_api_t *pq;
    PGcancelConn *handle; /* NULL before libpq 17 */
    poll_watch_t *watch;
    loop_timer_t *timer;
    cancel_on_end on_end;
    void *owner;
    char problem[256]; /* of the call that blocked */
};

static bool cancel_begin(cancel_request_t *request, PGconn *session, char *problem, size_t problem_size);
static bool cancel_at_once(cancel_request_t *request, PGconn *session, char *problem, size_t problem_size);
static bool cancel_watch(cancel_request_t *request, int events);
static void cancel_on_poll(void *owner, poll_watch_t *watch, int events);
static void cancel_on_time(void *owner);
static void cancel_on_group_close(group_member_t *member);
static void cancel_finish(cancel_request_t *request, cancel_end_t end, const char *problem);
static void cancel_free(cancel_request_t *request);

cancel_request_t *cancel_request_start(handle_group_t *group, const libpq_api_t *pq, PGconn *session,
                                       cancel_on_end on_end, void *owner, char *problem, size_t problem_size) {
    cancel_request_t *request = calloc(1, sizeof *request);
    if (request == NULL) {
        snprintf(problem, problem_size, "out of memory for the cancellation");
        return NULL;
    }
    request->member.close = cancel_on_group_close;
    request->group = group;
    request->pq = pq;
    request->on_end = on_end;
    request->owner = owner;
    handle_group_add(group, &request->member);
    bool is_begun = pq->has_release_17 ? cancel_begin(request, session, problem, problem_size)
                                       : cancel_at_once(request, session, problem, problem_size);
    if (is_begun) return request;
    cancel_free(request);
    return NULL;
}

void cancel_request_close(cancel_request_t *request) { cancel_finish(request, CANCEL_DROPPED, NULL); }

static bool cancel_begin(cancel_request_t *request, PGconn *session, char *problem, size_t problem_size) {
    const libpq_api_t *pq = request->pq;
    request->handle = pq->PQcancelCreate(session);
    bool is_ok = request->handle != NULL && pq->PQcancelStart(request->handle) == 1;
    if (!is_ok) {
        snprintf(problem, problem_size, "%s",
                 request->handle == NULL ? "out of memory for the cancellation" : pq->PQcancelErrorMessage(request->handle));
        return false;
    }
    request->timer = loop_timer_open(request->group, CANCEL_MS_MAX, cancel_on_time, request);
    if (request->timer != NULL && cancel_watch(request, POLL_WRITABLE)) return true;
    snprintf(problem, problem_size, "the event loop refused to watch the cancellation's socket");
    return false;
}

/* The answer is known already, and told in the loop's next turn. */
static bool cancel_at_once(cancel_request_t *request, PGconn *session, char *problem, size_t problem_size) {
    const libpq_api_t *pq = request->pq;
    PGcancel *cancel = pq->PQgetCancel(session);
    if (cancel == NULL) {
        snprintf(problem, problem_size, "cannot cancel: the connection is not open");
        return false;
    }
    if (pq->PQcancel(cancel, request->problem, sizeof request->problem) == 1) request->problem[0] = '\0';
    pq->PQfreeCancel(cancel);
    request->timer = loop_timer_open(request->group, 0, cancel_on_time, request);
    if (request->timer != NULL) return true;
    snprintf(problem, problem_size, "out of memory for the cancellation");
    return false;
}

static bool cancel_watch(cancel_request_t *request, int events) {
    int descriptor = request->pq->PQcancelSocket(request->handle);
    if (descriptor < 0) return false;
    request->watch = poll_watch_open(request->group, descriptor, cancel_on_poll, request);
    return request->watch != NULL && poll_watch_set(request->watch, events);
}

static void cancel_unwatch(cancel_request_t *request) {
    if (request->watch != NULL) poll_watch_close(request->watch);
    request->watch = NULL;
}

static void cancel_on_poll(void *owner, poll_watch_t *watch, int events) {
    (void)watch;
    (void)events;
    cancel_request_t *request = owner;
    cancel_unwatch(request); /* libpq may close its socket and open another in the step */
    int step = request->pq->PQcancelPoll(request->handle);
    if (step == PGRES_POLLING_READING && cancel_watch(request, POLL_READABLE)) return;
    if (step == PGRES_POLLING_WRITING && cancel_watch(request, POLL_WRITABLE)) return;
    if (step == PGRES_POLLING_OK) {
        cancel_finish(request, CANCEL_SENT, NULL);
    } else {
        cancel_finish(request, CANCEL_FAILED, request->pq->PQcancelErrorMessage(request->handle));
    }
}

static void cancel_on_time(void *owner) {
    cancel_request_t *request = owner;
    request->timer = NULL;
    if (request->handle != NULL) {
        cancel_finish(request, CANCEL_FAILED, "timeout expired: the server did not take the cancellation in time");
    } else if (request->problem[0] != '\0') {
        cancel_finish(request, CANCEL_FAILED, request->problem);
    } else {
        cancel_finish(request, CANCEL_SENT, NULL);
    }
}

static void cancel_on_group_close(group_member_t *member) {
    cancel_finish((cancel_request_t *)member, CANCEL_DROPPED, NULL);
}

/* The owner is told last: it may run anything. */
static void cancel_finish(cancel_request_t *request, cancel_end_t end, const char *problem) {
    char words[256];
    snprintf(words, sizeof words, "%s", problem == NULL ? "" : problem);
    cancel_on_end on_end = request->on_end;
    void *owner = request->owner;
    cancel_free(request);
    on_end(owner, end, end == CANCEL_FAILED ? words : NULL);
}

static void cancel_free(cancel_request_t *request) {
    cancel_unwatch(request);
    if (request->timer != NULL) loop_timer_close(request->timer);
    if (request->handle != NULL) request->pq->PQcancelFinish(request->handle);
    handle_group_remove(&request->member);
    free(request);
}
