/** pq_connection: PQ's methods about the connection itself and the watch on its socket.
 *  Owns: nothing.   Thread: the env's.   Holds: an unconnected PQ gets libpq's own answers for NULL, never an exception. */
#include "connect_arguments.h"
#include "pq_object.h"

/* ($text, host?, hostaddr?, port?) → whether it went well so far; `is_blocking` says whether that is the end. */
static napi_value pq_connect(napi_env env, napi_callback_info info, bool is_blocking) {
    pq_call_t call;
    text_t text;
    hosts_text_t hosts;
    if (!pq_call_open(env, info, &call)) return NULL;
    if (!text_read(env, call.arguments[0], &text)) return NULL;
    if (!hosts_read(env, call.arguments + 1, &hosts)) {
        text_free(&text);
        return NULL;
    }
    bool is_ok = is_blocking ? connection_open(call.connection, text.bytes, &hosts.hosts)
                             : connection_start(call.connection, text.bytes, &hosts.hosts);
    hosts_free(&hosts);
    text_free(&text);
    return make_bool(env, is_ok);
}

static napi_value js_pq_connect(napi_env env, napi_callback_info info) { return pq_connect(env, info, false); }
static napi_value js_pq_connect_sync(napi_env env, napi_callback_info info) { return pq_connect(env, info, true); }

static napi_value js_pq_conninfo(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    return make_conninfo(env, call.pq, call.arguments[0]);
}

static napi_value js_pq_abandon(napi_env env, napi_callback_info info) {
    pq_call_t call;
    text_t problem;
    if (!pq_call_open(env, info, &call)) return NULL;
    if (!text_read(env, call.arguments[0], &problem)) return NULL;
    connection_abandon(call.connection, problem.bytes);
    text_free(&problem);
    return NULL;
}

static napi_value js_pq_finish(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    connection_finish(call.connection);
    return NULL;
}

static napi_value js_pq_error_message(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    return make_text(env, connection_problem(call.connection));
}

static napi_value js_pq_socket(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    return make_int(env, call.pq->PQsocket(call.connection->handle));
}

static napi_value js_pq_server_version(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    return make_int(env, call.pq->PQserverVersion(call.connection->handle));
}

static napi_value js_pq_transaction_status(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    return make_int(env, call.pq->PQtransactionStatus(call.connection->handle));
}

static napi_value js_pq_ssl_in_use(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    return make_bool(env, call.pq->PQsslInUse(call.connection->handle) == 1);
}

static napi_value js_pq_start_read(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    return make_bool(env, connection_want(call.connection, POLL_READABLE, 0));
}

static napi_value js_pq_stop_read(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    connection_want(call.connection, 0, POLL_READABLE);
    return NULL;
}

static napi_value js_pq_start_write(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    return make_bool(env, connection_want(call.connection, POLL_WRITABLE, 0));
}

static const napi_property_descriptor methods[] = {
    NATIVE_FUNCTION("$connect", js_pq_connect),
    NATIVE_FUNCTION("$connectSync", js_pq_connect_sync),
    NATIVE_FUNCTION("$conninfo", js_pq_conninfo),
    NATIVE_FUNCTION("$abandon", js_pq_abandon),
    NATIVE_FUNCTION("$finish", js_pq_finish),
    NATIVE_FUNCTION("errorMessage", js_pq_error_message),
    NATIVE_FUNCTION("socket", js_pq_socket),
    NATIVE_FUNCTION("serverVersion", js_pq_server_version),
    NATIVE_FUNCTION("transactionStatus", js_pq_transaction_status),
    NATIVE_FUNCTION("sslInUse", js_pq_ssl_in_use),
    NATIVE_FUNCTION("$startRead", js_pq_start_read),
    NATIVE_FUNCTION("stopReader", js_pq_stop_read),
    NATIVE_FUNCTION("$startWrite", js_pq_start_write),
};
METHOD_TABLE(pq_connection_methods, methods);
