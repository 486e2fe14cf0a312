/** loop_timer: one moment in the future of one event loop.
 *  Owns:   the libuv handle, which lives on the heap until libuv's close callback.
 *  Thread: the loop's own.
 *  Holds:  fires at most once, never inside loop_timer_open(), and not after loop_timer_close(). */
#ifndef HEARTH_LOOP_TIMER_H
#define HEARTH_LOOP_TIMER_H

#include "handle_group.h"

typedef struct loop_timer loop_timer_t;
/** The timer is closed already: the pointer that loop_timer_open() gave is the callee's to forget. */
typedef void (*loop_timer_event)(void *owner);

/** NULL when memory is out. With 0 ms it fires in the loop's next turn. Keeps the loop alive until then. */
loop_timer_t *loop_timer_open(handle_group_t *group, unsigned int delay_ms, loop_timer_event on_fire, void *owner);
void loop_timer_close(loop_timer_t *timer);

#endif
