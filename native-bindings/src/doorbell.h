/** doorbell: a bell in one event loop that any thread of the process rings by its number.
 *  Owns:   the table of open bells, which all threads share: that is what a bell is for.
 *  Thread: opened and closed by its loop's own thread; rung by any.
 *  Holds:  (1) a number names one bell for ever: after its close, ringing it does nothing.  (2) several rings before the loop
 *          comes round may be one event, never none.  (3) no event after doorbell_close().  (4) a bell never keeps its loop
 *          alive. */
#ifndef HEARTH_DOORBELL_H
#define HEARTH_DOORBELL_H

#include <stdbool.h>
#include <stdint.h>

#include "handle_group.h"

#define DOORBELL_COUNT_MAX 256

typedef struct doorbell doorbell_t;
typedef void (*doorbell_event)(void *owner);

/** NULL when DOORBELL_COUNT_MAX are open or libuv has none to give. Keeps `group` alive until it is closed. */
doorbell_t *doorbell_open(handle_group_t *group, doorbell_event on_ring, void *owner);
/** From 1 to INT32_MAX. */
int32_t doorbell_number(const doorbell_t *bell);
/** Any thread. False when nobody listens to that number any more. */
bool doorbell_ring(int32_t number);
/** Ends the bell. Its memory goes in libuv's close callback; the pointer is the caller's no more. */
void doorbell_close(doorbell_t *bell);

#endif
