/** pq_object: the class itself: construction, collection and the way back from the loop into JavaScript.
 *  Owns: each pq_object_t from construction to finalizer.   Thread: the env's.
 *  Holds: while an env ends, libuv still calls back but JavaScript cannot run: every status is checked and nothing is
 *  used that a failed call left unset. */
#include "pq_object.h"

#include <stdlib.h>
#include <string.h>

#define METHOD_COUNT_MAX 96

static napi_value js_pq_construct(napi_env env, napi_callback_info info);
static void pq_finalize(napi_env env, void *data, void *hint);
static void pq_on_connected(connection_t *connection, bool is_ok);
static bool pq_on_ready(connection_t *connection, int events);
static void pq_on_active(connection_t *connection, bool is_active);
static bool pq_tell(pq_object_t *object, const char *method, const char *text, bool flag);
static bool pq_invoke(pq_object_t *object, const char *method, const char *text, bool flag);

static const connection_events_t pq_events = {pq_on_connected, pq_on_ready, pq_on_active};

bool pq_class_register(napi_env env, napi_value exports) {
    const method_table_t *tables[] = {&pq_connection_methods, &pq_query_methods, &pq_result_methods,
                                      &pq_transfer_methods, &pq_pipeline_methods};
    napi_property_descriptor methods[METHOD_COUNT_MAX];
    size_t count = 0;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        for (size_t j = 0; j < tables[i]->count && count < METHOD_COUNT_MAX; j++) methods[count++] = tables[i]->methods[j];
    }
    napi_value class;
    NAPI_TRY_BOOL(env, napi_define_class(env, "PQ", NAPI_AUTO_LENGTH, js_pq_construct, NULL, count, methods, &class));
    return set_property(env, exports, "PQ", class);
}

bool pq_call_open(napi_env env, napi_callback_info info, pq_call_t *call) {
    size_t count = ARGUMENT_COUNT_MAX;
    napi_value self;
    void *data = NULL;
    NAPI_TRY_BOOL(env, napi_get_cb_info(env, info, &count, call->arguments, &self, NULL));
    NAPI_TRY_BOOL(env, napi_unwrap(env, self, &data));
    call->env = env;
    call->connection = data;
    call->pq = call->connection->pq;
    return true;
}

int pq_call_int(const pq_call_t *call, size_t index) {
    int32_t value = 0;
    return napi_get_value_int32(call->env, call->arguments[index], &value) == napi_ok ? value : 0;
}

bool pq_call_flag(const pq_call_t *call, size_t index) {
    bool value = false;
    return napi_get_value_bool(call->env, call->arguments[index], &value) == napi_ok && value;
}

static napi_value js_pq_construct(napi_env env, napi_callback_info info) {
    napi_value self;
    NAPI_TRY(env, napi_get_cb_info(env, info, NULL, NULL, &self, NULL));
    const libpq_api_t *pq = libpq_api_get();
    if (pq == NULL) {
        napi_throw_error(env, "NOT_CONFIGURED", "no libpq is loaded");
        return NULL;
    }
    pq_object_t *object = calloc(1, sizeof *object);
    if (object == NULL) {
        napi_throw_error(env, "ENOMEM", "out of memory for a connection");
        return NULL;
    }
    object->env = env;
    object->state = env_state_get(env);
    if (napi_wrap(env, self, object, pq_finalize, NULL, &object->self) != napi_ok) {
        free(object);
        return convert_fail(env);
    }
    connection_init(&object->connection, object->state->group, pq, &pq_events);
    return self;
}

/* Also runs for objects that the end of the env has closed already: closing twice is harmless. */
static void pq_finalize(napi_env env, void *data, void *hint) {
    (void)hint;
    pq_object_t *object = data;
    object->state = NULL; /* no reference counting any more: the object is going */
    connection_destroy(&object->connection);
    napi_delete_reference(env, object->self);
    free(object);
}

static void pq_on_connected(connection_t *connection, bool is_ok) {
    pq_tell((pq_object_t *)connection, "$onConnected", NULL, is_ok);
}

static bool pq_on_ready(connection_t *connection, int events) {
    pq_object_t *object = (pq_object_t *)connection;
    unsigned generation = connection->generation;
    if ((events & POLL_READABLE) && !pq_tell(object, "emit", "readable", false)) return false;
    /* The first callback may have finished this connection; another one is not the one that became writable. */
    if (connection->generation != generation) return true;
    return !(events & POLL_WRITABLE) || pq_tell(object, "emit", "writable", false);
}

static void pq_on_active(connection_t *connection, bool is_active) {
    pq_object_t *object = (pq_object_t *)connection;
    if (object->state == NULL || object->state->is_ending) return;
    uint32_t count = 0;
    if (is_active) {
        napi_reference_ref(object->env, object->self, &count);
    } else {
        napi_reference_unref(object->env, object->self, &count);
    }
}

/* False when JavaScript cannot run any more. */
static bool pq_tell(pq_object_t *object, const char *method, const char *text, bool flag) {
    napi_handle_scope scope;
    if (napi_open_handle_scope(object->env, &scope) != napi_ok) return false;
    bool is_told = pq_invoke(object, method, text, flag);
    return napi_close_handle_scope(object->env, scope) == napi_ok && is_told;
}

static bool pq_invoke(pq_object_t *object, const char *method, const char *text, bool flag) {
    napi_env env = object->env;
    napi_value self = NULL;
    napi_value function = NULL;
    napi_value argument = NULL;
    napi_value returned = NULL;
    if (napi_get_reference_value(env, object->self, &self) != napi_ok || self == NULL) return false;
    if (napi_get_named_property(env, self, method, &function) != napi_ok) return false;
    napi_status status = text == NULL ? napi_get_boolean(env, flag, &argument)
                                      : napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &argument);
    if (status != napi_ok) return false;
    /* make_callback and not call_function: it runs the microtasks and process.nextTick() afterwards. */
    status = napi_make_callback(env, NULL, self, function, 1, &argument, &returned);
    if (status == napi_ok) return true;
    if (status != napi_pending_exception) return false;
    napi_value exception = NULL;
    if (napi_get_and_clear_last_exception(env, &exception) != napi_ok || exception == NULL) return false;
    return napi_fatal_exception(env, exception) == napi_ok; /* 'uncaughtException' of this very thread */
}
