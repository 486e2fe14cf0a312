/** addon_doorbell: doorbell.c for JavaScript: bells that call a function from the event loop.
 *  Owns:   each open bell's callback, until it is closed or its thread ends.
 *  Thread: the env's; doorbellRing() reaches bells of other threads.
 *  Holds:  while an env ends, libuv still calls back but JavaScript cannot run: every status is checked. */
#include <stddef.h>
#include <stdlib.h>

#include "addon.h"
#include "convert.h"
#include "doorbell.h"
#include "env_state.h"

typedef struct bell_object {
    group_member_t member; /* first: the group's list is the list of this thread's bells too */
    napi_env env;
    env_state_t *state;
    napi_ref callback;
    doorbell_t *bell;
} bell_object_t;

static void bell_object_on_ring(void *owner);
static bool bell_object_call(bell_object_t *object);
static void bell_object_close(group_member_t *member);
static bell_object_t *bell_object_find(env_state_t *state, int32_t number);

/* (callback) → number, 0 when there is none to have */
static napi_value js_doorbell_open(napi_env env, napi_callback_info info) {
    size_t count = 1;
    napi_value arguments[1];
    napi_ref callback = NULL;
    env_state_t *state = env_state_get(env);
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    NAPI_TRY(env, napi_create_reference(env, arguments[0], 1, &callback));
    bell_object_t *object = calloc(1, sizeof *object);
    doorbell_t *bell = object == NULL || state->is_ending
                           ? NULL
                           : doorbell_open(state->group, bell_object_on_ring, object);
    if (bell == NULL) {
        free(object);
        NAPI_TRY(env, napi_delete_reference(env, callback));
        return make_int(env, 0);
    }
    *object = (bell_object_t){{NULL, NULL, bell_object_close}, env, state, callback, bell};
    handle_group_add(state->group, &object->member);
    return make_int(env, doorbell_number(bell));
}

/* (number) → whether somebody listens */
static napi_value js_doorbell_ring(napi_env env, napi_callback_info info) {
    size_t count = 1;
    napi_value arguments[1];
    int32_t number = 0;
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    NAPI_TRY(env, napi_get_value_int32(env, arguments[0], &number));
    return make_bool(env, doorbell_ring(number));
}

/* (number): nothing happens when it is not an open bell of this thread */
static napi_value js_doorbell_close(napi_env env, napi_callback_info info) {
    size_t count = 1;
    napi_value arguments[1];
    int32_t number = 0;
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    NAPI_TRY(env, napi_get_value_int32(env, arguments[0], &number));
    bell_object_t *object = bell_object_find(env_state_get(env), number);
    if (object != NULL) bell_object_close(&object->member);
    return NULL;
}

static void bell_object_on_ring(void *owner) {
    bell_object_t *object = owner;
    napi_env env = object->env;
    napi_handle_scope scope;
    if (object->state->is_ending || napi_open_handle_scope(env, &scope) != napi_ok) return;
    /* The callback may close this bell: `object` is not touched after it. */
    bell_object_call(object);
    napi_close_handle_scope(env, scope);
}

/* False when JavaScript cannot run any more. */
static bool bell_object_call(bell_object_t *object) {
    napi_env env = object->env;
    napi_value self = NULL;
    napi_value function = NULL;
    napi_value exception = NULL;
    if (napi_get_global(env, &self) != napi_ok) return false;
    if (napi_get_reference_value(env, object->callback, &function) != napi_ok || function == NULL) return false;
    /* make_callback and not call_function: it runs the microtasks and process.nextTick() afterwards. */
    napi_status status = napi_make_callback(env, NULL, self, function, 0, NULL, NULL);
    if (status == napi_ok) return true;
    if (status != napi_pending_exception) return false;
    if (napi_get_and_clear_last_exception(env, &exception) != napi_ok || exception == NULL) return false;
    return napi_fatal_exception(env, exception) == napi_ok; /* 'uncaughtException' of this very thread */
}

/* Also the group's way of closing it, when the thread ends. */
static void bell_object_close(group_member_t *member) {
    bell_object_t *object = (bell_object_t *)member;
    handle_group_remove(member);
    doorbell_close(object->bell);
    napi_delete_reference(object->env, object->callback);
    free(object);
}

static bell_object_t *bell_object_find(env_state_t *state, int32_t number) {
    for (group_member_t *member = state->group->first; member != NULL; member = member->next) {
        if (member->close != bell_object_close) continue;
        bell_object_t *object = (bell_object_t *)member;
        if (doorbell_number(object->bell) == number) return object;
    }
    return NULL;
}

bool addon_doorbell_register(napi_env env, napi_value exports) {
    static const napi_property_descriptor functions[] = {
        NATIVE_FUNCTION("doorbellOpen", js_doorbell_open),
        NATIVE_FUNCTION("doorbellRing", js_doorbell_ring),
        NATIVE_FUNCTION("doorbellClose", js_doorbell_close),
    };
    return add_functions(env, exports, functions, sizeof functions / sizeof *functions);
}
