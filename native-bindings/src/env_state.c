/** env_state: see the header.
 *  Owns: the env_state_t of each env.   Thread: the env's.
 *  Holds: the group outlives env_state_t: it has a reference count of its own. */
#include "env_state.h"

#include <stdlib.h>

#include "convert.h"

static void env_on_cleanup(napi_async_cleanup_hook_handle handle, void *data);
static void env_on_drained(void *context);
static void env_state_free(napi_env env, void *data, void *hint);

bool env_state_create(napi_env env) {
    struct uv_loop_s *loop = NULL;
    NAPI_TRY_BOOL(env, napi_get_uv_event_loop(env, &loop));
    env_state_t *state = calloc(1, sizeof *state);
    handle_group_t *group = handle_group_create(loop);
    if (state == NULL || group == NULL) {
        free(state);
        free(group);
        napi_throw_error(env, "ENOMEM", "out of memory for the native binding");
        return false;
    }
    state->env = env;
    state->group = group;
    if (napi_set_instance_data(env, state, env_state_free, NULL) != napi_ok) {
        env_state_free(env, state, NULL);
        convert_fail(env);
        return false;
    }
    NAPI_TRY_BOOL(env, napi_add_async_cleanup_hook(env, env_on_cleanup, state, &state->cleanup));
    return true;
}

env_state_t *env_state_get(napi_env env) {
    void *data = NULL;
    return napi_get_instance_data(env, &data) == napi_ok ? data : NULL;
}

static void env_on_cleanup(napi_async_cleanup_hook_handle handle, void *data) {
    env_state_t *state = data;
    state->is_ending = true;
    /* The state may be freed before the last handle closes, so the callback gets the hook itself. */
    handle_group_close(state->group, env_on_drained, handle);
}

static void env_on_drained(void *context) { napi_remove_async_cleanup_hook(context); }

static void env_state_free(napi_env env, void *data, void *hint) {
    (void)env;
    (void)hint;
    env_state_t *state = data;
    handle_group_drop(state->group);
    free(state);
}
