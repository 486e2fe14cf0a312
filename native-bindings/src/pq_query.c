/** pq_query: PQ's methods that send statements and take in what comes back.
 *  Owns: nothing.   Thread: the env's.
 *  Holds: after each call that may read or write, connection_settle() has seen whether libpq closed the socket. */
#include "parameters.h"
#include "pq_object.h"

typedef enum statement_kind { EXEC_PARAMS, EXEC_PREPARED, SEND_PARAMS, SEND_PREPARED } statement_kind_t;

/* (text or statement name, parameters) for the four calls that differ only in name. */
static napi_value pq_run(napi_env env, napi_callback_info info, statement_kind_t kind) {
    pq_call_t call;
    text_t text;
    parameters_t given;
    if (!pq_call_open(env, info, &call)) return NULL;
    if (!text_read(env, call.arguments[0], &text)) return NULL;
    if (!parameters_read(env, call.arguments[1], &given)) {
        text_free(&text);
        return NULL;
    }
    const libpq_api_t *pq = call.pq;
    PGconn *handle = call.connection->handle;
    PGresult *result = NULL;
    int is_sent = 0;
    switch (kind) {
        case EXEC_PARAMS:
            result = pq->PQexecParams(handle, text.bytes, given.count, NULL, given.values, given.lengths,
                                      given.formats, 0);
            break;
        case EXEC_PREPARED:
            result = pq->PQexecPrepared(handle, text.bytes, given.count, given.values, given.lengths,
                                        given.formats, 0);
            break;
        case SEND_PARAMS:
            is_sent = pq->PQsendQueryParams(handle, text.bytes, given.count, NULL, given.values, given.lengths,
                                            given.formats, 0);
            break;
        case SEND_PREPARED:
            is_sent = pq->PQsendQueryPrepared(handle, text.bytes, given.count, given.values, given.lengths,
                                              given.formats, 0);
            break;
    }
    parameters_free(&given);
    text_free(&text);
    if (kind == EXEC_PARAMS || kind == EXEC_PREPARED) connection_keep(call.connection, result);
    connection_settle(call.connection);
    return make_bool(env, is_sent == 1);
}

static napi_value js_pq_exec_params(napi_env env, napi_callback_info info) { return pq_run(env, info, EXEC_PARAMS); }
static napi_value js_pq_exec_prepared(napi_env env, napi_callback_info info) { return pq_run(env, info, EXEC_PREPARED); }
static napi_value js_pq_send_params(napi_env env, napi_callback_info info) { return pq_run(env, info, SEND_PARAMS); }
static napi_value js_pq_send_prepared(napi_env env, napi_callback_info info) { return pq_run(env, info, SEND_PREPARED); }

static napi_value js_pq_exec(napi_env env, napi_callback_info info) {
    pq_call_t call;
    text_t text;
    if (!pq_call_open(env, info, &call) || !text_read(env, call.arguments[0], &text)) return NULL;
    connection_keep(call.connection, call.pq->PQexec(call.connection->handle, text.bytes));
    text_free(&text);
    connection_settle(call.connection);
    return NULL;
}

static napi_value js_pq_send_query(napi_env env, napi_callback_info info) {
    pq_call_t call;
    text_t text;
    if (!pq_call_open(env, info, &call) || !text_read(env, call.arguments[0], &text)) return NULL;
    int is_sent = call.pq->PQsendQuery(call.connection->handle, text.bytes);
    text_free(&text);
    connection_settle(call.connection);
    return make_bool(env, is_sent == 1);
}

/* (name, text, count of parameters) */
static napi_value pq_prepare(napi_env env, napi_callback_info info, bool is_blocking) {
    pq_call_t call;
    text_t name;
    text_t text;
    if (!pq_call_open(env, info, &call) || !text_read(env, call.arguments[0], &name)) return NULL;
    if (!text_read(env, call.arguments[1], &text)) {
        text_free(&name);
        return NULL;
    }
    int count = pq_call_int(&call, 2);
    PGconn *handle = call.connection->handle;
    int is_sent = 0;
    if (is_blocking) {
        connection_keep(call.connection, call.pq->PQprepare(handle, name.bytes, text.bytes, count, NULL));
    } else {
        is_sent = call.pq->PQsendPrepare(handle, name.bytes, text.bytes, count, NULL);
    }
    text_free(&text);
    text_free(&name);
    connection_settle(call.connection);
    return make_bool(env, is_sent == 1);
}

static napi_value js_pq_prepare(napi_env env, napi_callback_info info) { return pq_prepare(env, info, true); }
static napi_value js_pq_send_prepare(napi_env env, napi_callback_info info) { return pq_prepare(env, info, false); }

static napi_value js_pq_describe_prepared(napi_env env, napi_callback_info info) {
    pq_call_t call;
    text_t name;
    if (!pq_call_open(env, info, &call) || !text_read(env, call.arguments[0], &name)) return NULL;
    connection_keep(call.connection, call.pq->PQdescribePrepared(call.connection->handle, name.bytes));
    text_free(&name);
    connection_settle(call.connection);
    return NULL;
}

static napi_value js_pq_get_result(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    PGresult *result = call.pq->PQgetResult(call.connection->handle);
    if (result != NULL) connection_keep(call.connection, result); /* without one, the last stays readable */
    connection_settle(call.connection);
    return make_bool(env, result != NULL);
}

static napi_value js_pq_consume_input(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    int is_ok = call.pq->PQconsumeInput(call.connection->handle);
    connection_settle(call.connection);
    return make_bool(env, is_ok == 1);
}

static napi_value js_pq_is_busy(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    int is_busy = call.pq->PQisBusy(call.connection->handle);
    connection_settle(call.connection);
    return make_bool(env, is_busy == 1);
}

static napi_value js_pq_flush(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    int left = call.pq->PQflush(call.connection->handle);
    connection_settle(call.connection);
    return make_int(env, left);
}

static napi_value js_pq_set_non_blocking(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    int status = call.pq->PQsetnonblocking(call.connection->handle, pq_call_flag(&call, 0) ? 1 : 0);
    connection_settle(call.connection);
    return make_bool(env, status == 0);
}

static napi_value js_pq_is_non_blocking(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    return make_bool(env, call.pq->PQisnonblocking(call.connection->handle) == 1);
}

static const napi_property_descriptor methods[] = {
    NATIVE_FUNCTION("$exec", js_pq_exec),
    NATIVE_FUNCTION("$execParams", js_pq_exec_params),
    NATIVE_FUNCTION("$prepare", js_pq_prepare),
    NATIVE_FUNCTION("$execPrepared", js_pq_exec_prepared),
    NATIVE_FUNCTION("$describePrepared", js_pq_describe_prepared),
    NATIVE_FUNCTION("$sendQuery", js_pq_send_query),
    NATIVE_FUNCTION("$sendQueryParams", js_pq_send_params),
    NATIVE_FUNCTION("$sendPrepare", js_pq_send_prepare),
    NATIVE_FUNCTION("$sendQueryPrepared", js_pq_send_prepared),
    NATIVE_FUNCTION("getResult", js_pq_get_result),
    NATIVE_FUNCTION("consumeInput", js_pq_consume_input),
    NATIVE_FUNCTION("isBusy", js_pq_is_busy),
    NATIVE_FUNCTION("flush", js_pq_flush),
    NATIVE_FUNCTION("$setNonBlocking", js_pq_set_non_blocking),
    NATIVE_FUNCTION("isNonBlocking", js_pq_is_non_blocking),
};
METHOD_TABLE(pq_query_methods, methods);
