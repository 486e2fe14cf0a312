/** addon_guard: owner_guard.c for JavaScript.
 *  Owns:   each guard from its making to its release, or to the end of its thread's environment.
 *  Thread: the env's, which is the holder.
 *  Holds:  as owner_guard.h says. */
#include <stdlib.h>

#include "addon.h"
#include "convert.h"
#include "owner_guard.h"

static void guard_on_free(napi_env env, void *data, void *hint) {
    (void)env;
    (void)hint;
    owner_guard_release(data);
    free(data);
}

/* (path, at) → {handle, wordAt} or -errno */
static napi_value js_hold_guard(napi_env env, napi_callback_info info) {
    size_t count = 2;
    napi_value arguments[2];
    napi_value handle;
    napi_value result;
    uint32_t at = 0;
    text_t path;
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    NAPI_TRY(env, napi_get_value_uint32(env, arguments[1], &at));
    owner_guard_t *guard = calloc(1, sizeof *guard);
    if (guard == NULL) {
        napi_throw_error(env, "ENOMEM", "out of memory for a guard");
        return NULL;
    }
    if (!text_read(env, arguments[0], &path)) {
        free(guard);
        return NULL;
    }
    int error = owner_guard_hold(path.bytes, at, guard);
    text_free(&path);
    if (error != 0) {
        free(guard);
        return make_int(env, -error);
    }
    if (napi_create_external(env, guard, guard_on_free, NULL, &handle) != napi_ok) {
        guard_on_free(env, guard, NULL);
        return convert_fail(env);
    }
    NAPI_TRY(env, napi_create_object(env, &result));
    bool is_ok = set_property(env, result, "handle", handle) &&
                 set_property(env, result, "wordAt", make_unsigned(env, (unsigned int)guard->word_at));
    return is_ok ? result : NULL;
}

/* (handle) */
static napi_value js_release_guard(napi_env env, napi_callback_info info) {
    size_t count = 1;
    napi_value arguments[1];
    void *guard = NULL;
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    NAPI_TRY(env, napi_get_value_external(env, arguments[0], &guard));
    owner_guard_release(guard);
    return NULL;
}

bool addon_guard_register(napi_env env, napi_value exports) {
    static const napi_property_descriptor functions[] = {
        NATIVE_FUNCTION("holdGuard", js_hold_guard),
        NATIVE_FUNCTION("releaseGuard", js_release_guard),
    };
    return add_functions(env, exports, functions, sizeof functions / sizeof *functions);
}
