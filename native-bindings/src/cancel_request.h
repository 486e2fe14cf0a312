/** cancel_request: asks a server to cancel what one of its sessions runs now, over a connection of its own. Plain C.
 *  Owns:   that connection, its watch, its time limit.
 *  Thread: the loop's own.
 *  Holds:  (1) `on_end` is called exactly once for each request that was started, never within cancel_request_start().
 *          (2) does not outlive its group, nor CANCEL_MS_MAX.  (3) the session may be closed meanwhile. */
#ifndef HEARTH_CANCEL_REQUEST_H
#define HEARTH_CANCEL_REQUEST_H

#include "handle_group.h"
#include "libpq_api.h"

#define CANCEL_MS_MAX 2000

typedef struct cancel_request cancel_request_t;

/** SENT: the server has passed it on, which does not say that anything was cancelled. DROPPED: by cancel_request_close() or
 *  the end of the thread. */
typedef enum cancel_end { CANCEL_SENT, CANCEL_FAILED, CANCEL_DROPPED } cancel_end_t;
/** `problem` is set when it failed. The request is gone. */
typedef void (*cancel_on_end)(void *owner, cancel_end_t end, const char *problem);

/** Without blocking from libpq 17 on, encrypted as the session is; else it blocks for a round trip. NULL with a line in
 *  `problem` when it could not begin: `on_end` is not called then. */
cancel_request_t *cancel_request_start(handle_group_t *group, const libpq_api_t *pq, PGconn *session,
                                       cancel_on_end on_end, void *owner, char *problem, size_t problem_size);
void cancel_request_close(cancel_request_t *request);

#endif
