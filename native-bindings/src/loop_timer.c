/** loop_timer: see the header.
 *  Owns: the handle and its record.   Thread: the loop's own.   Holds: both are freed together, once. */
#include "loop_timer.h"

#include <stdlib.h>

#include "uv_poll.h"

struct loop_timer {
    uv_handle_t *handle;
    handle_group_t *group;
    loop_timer_event on_fire;
    void *owner;
};

static void timer_on_time(uv_handle_t *handle);
static void timer_on_closed(uv_handle_t *handle);

loop_timer_t *loop_timer_open(handle_group_t *group, unsigned int delay_ms, loop_timer_event on_fire, void *owner) {
    loop_timer_t *timer = malloc(sizeof *timer);
    uv_handle_t *handle = calloc(1, uv_handle_size(UV_HANDLE_TIMER));
    if (timer == NULL || handle == NULL || uv_timer_init(group->loop, handle) != 0) {
        free(handle);
        free(timer);
        return NULL;
    }
    *timer = (loop_timer_t){handle, group, on_fire, owner};
    handle->data = timer;
    handle_group_hold(group);
    uv_timer_start(handle, timer_on_time, delay_ms, 0); /* fails for a NULL callback or a closing handle only */
    return timer;
}

void loop_timer_close(loop_timer_t *timer) {
    timer->on_fire = NULL;
    uv_close(timer->handle, timer_on_closed);
}

static void timer_on_time(uv_handle_t *handle) {
    loop_timer_t *timer = handle->data;
    loop_timer_event on_fire = timer->on_fire;
    void *owner = timer->owner;
    loop_timer_close(timer);
    on_fire(owner);
}

static void timer_on_closed(uv_handle_t *handle) {
    loop_timer_t *timer = handle->data;
    handle_group_t *group = timer->group;
    free(handle);
    free(timer);
    handle_group_release(group);
}
