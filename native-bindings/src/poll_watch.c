/** poll_watch: see the header.
 *  Owns:   the handle and its record.
 *  Thread: the loop's own.
 *  Holds:  (1) record and handle are freed together, once.  (2) libuv watches for at least what is wanted; what it watches for
 *          beyond that is stopped when it first happens, and never keeps the loop alive.
 *
 *  A client stops reading after each answer and starts again for the next question. libuv's stop is a system call at once, and
 *  its start two more, which was a tenth of the time of a small query: so a stop only notes that nothing is wanted. */
#include "poll_watch.h"

#include <stdlib.h>

#include "uv_poll.h"

struct poll_watch {
    uv_handle_t *handle;
    handle_group_t *group;
    poll_watch_event on_event;
    void *owner;
    int descriptor;
    int wanted; /* by the owner */
    int armed;  /* by libuv */
    bool is_kept;
};

static void watch_refer(poll_watch_t *watch);
static bool watch_arm(poll_watch_t *watch, int events);
static void watch_on_poll(uv_handle_t *handle, int status, int events);
static void watch_on_closed(uv_handle_t *handle);

poll_watch_t *poll_watch_open(handle_group_t *group, int descriptor, poll_watch_event on_event, void *owner) {
    poll_watch_t *watch = malloc(sizeof *watch);
    uv_handle_t *handle = calloc(1, uv_handle_size(UV_HANDLE_POLL));
    if (watch == NULL || handle == NULL || uv_poll_init(group->loop, handle, descriptor) != 0) {
        free(handle);
        free(watch);
        return NULL;
    }
    *watch = (poll_watch_t){handle, group, on_event, owner, descriptor, 0, 0, true};
    handle->data = watch;
    handle_group_hold(group);
    return watch;
}

int poll_watch_descriptor(const poll_watch_t *watch) { return watch->descriptor; }

bool poll_watch_set(poll_watch_t *watch, int events) {
    watch->wanted = events;
    watch_refer(watch);
    return (watch->armed & events) == events || watch_arm(watch, events);
}

void poll_watch_keep(poll_watch_t *watch, bool is_kept) {
    watch->is_kept = is_kept;
    watch_refer(watch);
}

void poll_watch_close(poll_watch_t *watch) {
    watch->on_event = NULL;
    watch->owner = NULL;
    uv_poll_stop(watch->handle);
    uv_close(watch->handle, watch_on_closed);
}

static void watch_refer(poll_watch_t *watch) {
    if (watch->wanted != 0 && watch->is_kept) {
        uv_ref(watch->handle);
    } else {
        uv_unref(watch->handle);
    }
}

static bool watch_arm(poll_watch_t *watch, int events) {
    int status = events == 0 ? uv_poll_stop(watch->handle) : uv_poll_start(watch->handle, events, watch_on_poll);
    watch->armed = status == 0 ? events : 0;
    return status == 0;
}

static void watch_on_poll(uv_handle_t *handle, int status, int events) {
    poll_watch_t *watch = handle->data;
    if (watch->on_event == NULL) return;
    if (status < 0) { /* libuv stopped the watch: the socket is in error, and reading it will say which */
        watch->armed = 0;
        watch->on_event(watch->owner, watch, POLL_BROKEN);
        return;
    }
    if ((events & ~watch->wanted) != 0) watch_arm(watch, watch->wanted);
    if ((events & watch->wanted) != 0) watch->on_event(watch->owner, watch, events & watch->wanted);
}

static void watch_on_closed(uv_handle_t *handle) {
    poll_watch_t *watch = handle->data;
    handle_group_t *group = watch->group;
    free(handle);
    free(watch);
    handle_group_release(group);
}
