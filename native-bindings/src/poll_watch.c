/** poll_watch: see the header.
 *  Owns: the handle and its record.   Thread: the loop's own.   Holds: record and handle are freed together, once. */
#include "poll_watch.h"

#include <stdlib.h>

#include "uv_poll.h"

struct poll_watch {
    uv_handle_t *handle;
    handle_group_t *group;
    poll_watch_event on_event;
    void *owner;
    int descriptor;
};

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
    *watch = (poll_watch_t){handle, group, on_event, owner, descriptor};
    handle->data = watch;
    handle_group_hold(group);
    return watch;
}

int poll_watch_descriptor(const poll_watch_t *watch) { return watch->descriptor; }

bool poll_watch_set(poll_watch_t *watch, int events) {
    if (events == 0) return uv_poll_stop(watch->handle) == 0;
    return uv_poll_start(watch->handle, events, watch_on_poll) == 0;
}

void poll_watch_close(poll_watch_t *watch) {
    watch->on_event = NULL;
    watch->owner = NULL;
    uv_poll_stop(watch->handle);
    uv_close(watch->handle, watch_on_closed);
}

static void watch_on_poll(uv_handle_t *handle, int status, int events) {
    poll_watch_t *watch = handle->data;
    if (watch->on_event == NULL) return;
    /* A negative status means that libuv stopped the watch: the socket is in error, and reading it will say which. */
    watch->on_event(watch->owner, watch, status < 0 ? POLL_BROKEN : events);
}

static void watch_on_closed(uv_handle_t *handle) {
    poll_watch_t *watch = handle->data;
    handle_group_t *group = watch->group;
    free(handle);
    free(watch);
    handle_group_release(group);
}
