/** poll_watch: one descriptor watched by one event loop, for reading and writing together.
 *  Owns:   the libuv handle, which lives on the heap until libuv's close callback, never inside a collected object.
 *  Thread: the loop's own.
 *  Holds:  at most one watch per descriptor and loop; no event after poll_watch_close(). */
#ifndef HEARTH_POLL_WATCH_H
#define HEARTH_POLL_WATCH_H

#include "handle_group.h"

enum { POLL_READABLE = 1, POLL_WRITABLE = 2, POLL_BROKEN = 4 };

typedef struct poll_watch poll_watch_t;
typedef void (*poll_watch_event)(void *owner, poll_watch_t *watch, int events);

/** NULL when libuv refuses the descriptor. The watch starts idle and keeps `group` alive until it is closed. */
poll_watch_t *poll_watch_open(handle_group_t *group, int descriptor, poll_watch_event on_event, void *owner);
int poll_watch_descriptor(const poll_watch_t *watch);
/** Replaces what is watched for; 0 stops, and an idle watch does not keep the loop alive. */
bool poll_watch_set(poll_watch_t *watch, int events);
/** Whether a watch that waits for something keeps the loop alive; at first it does. */
void poll_watch_keep(poll_watch_t *watch, bool is_kept);
/** Ends the watch. Its memory goes in libuv's close callback; the pointer is the caller's no more. */
void poll_watch_close(poll_watch_t *watch);

#endif
