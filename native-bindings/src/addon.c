/** addon: where Node meets the binding. Runs once for every thread that loads it.
 *  Owns:   nothing; each thread's state is env_state_t.
 *  Thread: the env's.
 *  Holds:  refuses, with a sentence, a runtime whose libuv is not the 1.x that uv_poll.h describes. */
#include "addon.h"

#include "convert.h"
#include "env_state.h"
#include "pipeline_object.h"
#include "pq_object.h"
#include "uv_poll.h"

NAPI_MODULE_INIT() {
    if (uv_version() >> 16 != 1) {
        napi_throw_error(env, "ERR_HEARTH_LIBUV", "this runtime's libuv is not 1.x; use the Node that Hearth pins");
        return NULL;
    }
    bool is_ok = env_state_create(env) && addon_map_register(env, exports) && addon_guard_register(env, exports) &&
                 addon_system_register(env, exports) && addon_doorbell_register(env, exports) &&
                 addon_libpq_register(env, exports) && pq_class_register(env, exports) &&
                 pipeline_class_register(env, exports);
    return is_ok ? exports : NULL;
}
