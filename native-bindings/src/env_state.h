/** env_state: what the binding keeps for one JavaScript thread, and how it ends with that thread.
 *  Owns:   the thread's handle group (its open connections and bells) through Node-API instance data.
 *  Thread: one env each; nothing here is shared.
 *  Holds:  when the env ends, an asynchronous cleanup hook closes every connection and lets Node go on only after libuv
 *          has given back the last handle. Without it a terminated worker crashes the process. */
#ifndef HEARTH_ENV_STATE_H
#define HEARTH_ENV_STATE_H

#include <node_api.h>
#include <stdbool.h>

#include "handle_group.h"

typedef struct env_state {
    napi_env env;
    handle_group_t *group;
    napi_async_cleanup_hook_handle cleanup;
    bool is_ending;
} env_state_t;

/** False with an exception pending. Once per env. */
bool env_state_create(napi_env env);
/** Never NULL after env_state_create(). */
env_state_t *env_state_get(napi_env env);

#endif
