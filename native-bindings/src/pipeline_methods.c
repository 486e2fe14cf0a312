/** pipeline_methods: the methods of the class Pipeline.
 *  Owns:   the JavaScript callback of each cancellation, until that is over.
 *  Thread: the env's.
 *  Holds:  nothing here calls JavaScript but for conversions of what it was given. */
#include <stdlib.h>
#include <string.h>

#include "connect_arguments.h"
#include "parameters.h"
#include "pipeline_object.h"

typedef struct cancel_call {
    napi_env env;
    napi_ref on_sent;
} cancel_call_t;

static bool slot_read(pipeline_call_t *call, uint32_t *slot);
static bool statement_read(pipeline_call_t *call, statement_t **statement, int32_t *id);
static void cancel_call_on_end(void *owner, cancel_end_t end, const char *problem);

static napi_value make_undefined(napi_env env) {
    napi_value result;
    NAPI_TRY(env, napi_get_undefined(env, &result));
    return result;
}

/* (conninfo, host?, hostaddr?, port?) → undefined, or at once the problem */
static napi_value js_pipeline_connect(napi_env env, napi_callback_info info) {
    pipeline_call_t call;
    text_t text;
    hosts_text_t hosts;
    if (!pipeline_call_open(env, info, &call)) return NULL;
    if (!text_read(env, call.arguments[0], &text)) return NULL;
    if (!hosts_read(env, call.arguments + 1, &hosts)) {
        text_free(&text);
        return NULL;
    }
    bool is_begun = pipeline_connect(call.pipeline, text.bytes, &hosts.hosts);
    hosts_free(&hosts);
    text_free(&text);
    return is_begun ? make_undefined(env) : make_text(env, connection_problem(&call.pipeline->connection));
}

static napi_value js_pipeline_conninfo(napi_env env, napi_callback_info info) {
    pipeline_call_t call;
    if (!pipeline_call_open(env, info, &call)) return NULL;
    return make_conninfo(env, call.pipeline->connection.pq, call.arguments[0]);
}

/* (slot, name, sql) */
static napi_value js_pipeline_define(napi_env env, napi_callback_info info) {
    pipeline_call_t call;
    uint32_t slot = 0;
    text_t name;
    text_t text;
    if (!pipeline_call_open(env, info, &call) || !slot_read(&call, &slot)) return NULL;
    if (!text_read(env, call.arguments[1], &name)) return NULL;
    if (!text_read(env, call.arguments[2], &text)) {
        text_free(&name);
        return NULL;
    }
    const char *problem = NULL;
    if (statement_table_get(&call.pipeline->statements, slot) != NULL) {
        problem = "the slot is taken: forget() it first";
    } else if (name.size == 0 || name.size > STATEMENT_NAME_BYTES_MAX) {
        problem = "a statement's name has 1 to 63 bytes";
    } else if (!pipeline_define(call.pipeline, slot, name.bytes, text.bytes)) {
        problem = "out of memory for a statement";
    }
    text_free(&text);
    text_free(&name);
    if (problem != NULL) napi_throw_range_error(env, NULL, problem);
    return NULL;
}

/* (slot) */
static napi_value js_pipeline_forget(napi_env env, napi_callback_info info) {
    pipeline_call_t call;
    uint32_t slot = 0;
    if (!pipeline_call_open(env, info, &call) || !slot_read(&call, &slot)) return NULL;
    pipeline_forget(call.pipeline, slot);
    return NULL;
}

/* (slot, id, bytes, start, end) → send_status_t */
static napi_value js_pipeline_execute(napi_env env, napi_callback_info info) {
    pipeline_call_t call;
    statement_t *statement = NULL;
    int32_t id = 0;
    uint32_t start = 0;
    uint32_t end = 0;
    void *bytes = NULL;
    size_t size = 0;
    if (!pipeline_call_open(env, info, &call) || !statement_read(&call, &statement, &id)) return NULL;
    NAPI_TRY(env, napi_get_buffer_info(env, call.arguments[2], &bytes, &size));
    NAPI_TRY(env, napi_get_value_uint32(env, call.arguments[3], &start));
    NAPI_TRY(env, napi_get_value_uint32(env, call.arguments[4], &end));
    if (start > end || end > size) {
        napi_throw_range_error(env, NULL, "start and end must lie within bytes, in this order");
        return NULL;
    }
    const unsigned char *parameters = size == 0 ? (const unsigned char *)"" : (const unsigned char *)bytes + start;
    return make_int(env, pipeline_execute(call.pipeline, statement, id, parameters, end - start));
}

/* (slot, id, values) → send_status_t */
static napi_value js_pipeline_execute_values(napi_env env, napi_callback_info info) {
    pipeline_call_t call;
    statement_t *statement = NULL;
    int32_t id = 0;
    parameters_t given;
    if (!pipeline_call_open(env, info, &call) || !statement_read(&call, &statement, &id)) return NULL;
    statement_hold(statement); /* a toString() may forget it */
    bool is_read = parameters_read(env, call.arguments[2], &given);
    send_status_t status = SEND_REFUSED;
    if (is_read) {
        status = pipeline_execute_values(call.pipeline, statement, id, given.count, given.values, given.lengths,
                                         given.formats);
        parameters_free(&given);
    }
    statement_release(statement);
    return is_read ? make_int(env, status) : NULL;
}

/* (id, sql) → send_status_t */
static napi_value js_pipeline_run(napi_env env, napi_callback_info info) {
    pipeline_call_t call;
    int32_t id = 0;
    text_t text;
    if (!pipeline_call_open(env, info, &call)) return NULL;
    NAPI_TRY(env, napi_get_value_int32(env, call.arguments[0], &id));
    if (!text_read(env, call.arguments[1], &text)) return NULL;
    send_status_t status = pipeline_run(call.pipeline, id, text.bytes);
    text_free(&text);
    return make_int(env, status);
}

static napi_value js_pipeline_flush(napi_env env, napi_callback_info info) {
    pipeline_call_t call;
    if (!pipeline_call_open(env, info, &call)) return NULL;
    pipeline_flush(call.pipeline);
    return NULL;
}

/* (onSent) → undefined, or at once the problem; onSent is not called then */
static napi_value js_pipeline_cancel(napi_env env, napi_callback_info info) {
    pipeline_call_t call;
    char problem[PROBLEM_BYTES_MAX];
    if (!pipeline_call_open(env, info, &call)) return NULL;
    const connection_t *connection = &call.pipeline->connection;
    if (!call.pipeline->is_open) return make_text(env, "cannot cancel: the connection is not open");
    cancel_call_t *cancel = calloc(1, sizeof *cancel);
    if (cancel == NULL) return make_text(env, "out of memory for the cancellation");
    cancel->env = env;
    if (napi_create_reference(env, call.arguments[0], 1, &cancel->on_sent) != napi_ok) {
        free(cancel);
        return convert_fail(env);
    }
    if (cancel_request_start(connection->group, connection->pq, connection->handle, cancel_call_on_end, cancel, problem,
                             sizeof problem) != NULL) {
        return make_undefined(env);
    }
    cancel_call_on_end(cancel, CANCEL_DROPPED, NULL);
    return make_text(env, problem);
}

static void cancel_call_on_end(void *owner, cancel_end_t end, const char *problem) {
    cancel_call_t *call = owner;
    napi_env env = call->env;
    napi_handle_scope scope;
    if (end != CANCEL_DROPPED && napi_open_handle_scope(env, &scope) == napi_ok) {
        napi_value function = NULL;
        napi_value self = NULL;
        napi_value words = NULL;
        bool is_ok = napi_get_reference_value(env, call->on_sent, &function) == napi_ok && function != NULL &&
                     napi_get_undefined(env, &words) == napi_ok && napi_get_global(env, &self) == napi_ok;
        if (is_ok && problem != NULL) {
            is_ok = napi_create_string_utf8(env, problem, NAPI_AUTO_LENGTH, &words) == napi_ok;
        }
        if (is_ok) call_from_loop(env, self, function, 1, &words);
        napi_close_handle_scope(env, scope);
    }
    napi_delete_reference(env, call->on_sent);
    free(call);
}

static napi_value js_pipeline_finish(napi_env env, napi_callback_info info) {
    pipeline_call_t call;
    if (!pipeline_call_open(env, info, &call)) return NULL;
    pipeline_finish(call.pipeline);
    return NULL;
}

static napi_value js_pipeline_pending(napi_env env, napi_callback_info info) {
    pipeline_call_t call;
    if (!pipeline_call_open(env, info, &call)) return NULL;
    return make_unsigned(env, call.pipeline->pending.count);
}

static napi_value js_pipeline_transaction_status(napi_env env, napi_callback_info info) {
    pipeline_call_t call;
    if (!pipeline_call_open(env, info, &call)) return NULL;
    const connection_t *connection = &call.pipeline->connection;
    return make_int(env, connection->pq->PQtransactionStatus(connection->handle));
}

static napi_value js_pipeline_backend_pid(napi_env env, napi_callback_info info) {
    pipeline_call_t call;
    if (!pipeline_call_open(env, info, &call)) return NULL;
    const connection_t *connection = &call.pipeline->connection;
    return make_int(env, connection->pq->PQbackendPID(connection->handle));
}

static bool slot_read(pipeline_call_t *call, uint32_t *slot) {
    NAPI_TRY_BOOL(call->env, napi_get_value_uint32(call->env, call->arguments[0], slot));
    if (*slot < STATEMENT_COUNT_MAX) return true;
    napi_throw_range_error(call->env, NULL, "a slot is a number below 1024");
    return false;
}

/* (slot, id, …) */
static bool statement_read(pipeline_call_t *call, statement_t **statement, int32_t *id) {
    uint32_t slot = 0;
    NAPI_TRY_BOOL(call->env, napi_get_value_uint32(call->env, call->arguments[0], &slot));
    NAPI_TRY_BOOL(call->env, napi_get_value_int32(call->env, call->arguments[1], id));
    *statement = statement_table_get(&call->pipeline->statements, slot);
    if (*statement != NULL) return true;
    napi_throw_range_error(call->env, NULL, "nothing was defined for this slot");
    return false;
}

const napi_property_descriptor pipeline_methods[] = {
    NATIVE_FUNCTION("$connect", js_pipeline_connect),
    NATIVE_FUNCTION("$conninfo", js_pipeline_conninfo),
    NATIVE_FUNCTION("$cancel", js_pipeline_cancel),
    NATIVE_FUNCTION("$finish", js_pipeline_finish),
    NATIVE_FUNCTION("define", js_pipeline_define),
    NATIVE_FUNCTION("forget", js_pipeline_forget),
    NATIVE_FUNCTION("execute", js_pipeline_execute),
    NATIVE_FUNCTION("executeValues", js_pipeline_execute_values),
    NATIVE_FUNCTION("run", js_pipeline_run),
    NATIVE_FUNCTION("flush", js_pipeline_flush),
    NATIVE_FUNCTION("transactionStatus", js_pipeline_transaction_status),
    NATIVE_FUNCTION("backendPid", js_pipeline_backend_pid),
    {"pending", NULL, NULL, js_pipeline_pending, NULL, NULL, napi_default, NULL},
};
const size_t pipeline_method_count = sizeof pipeline_methods / sizeof *pipeline_methods;
