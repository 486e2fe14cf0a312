/** pq_transfer: PQ's methods beside statements: COPY, notifications, cancelling, escaping.
 *  Owns: nothing.   Thread: the env's.
 *  Holds: bytes cross as copies: an external buffer over libpq's memory is refused by V8 builds with a sandbox. */
#include <limits.h>
#include <string.h>

#include "pq_object.h"

#define CANCEL_PROBLEM_BYTES_MAX 256

static napi_value make_error(napi_env env, const char *message);

static napi_value js_pq_put_copy_data(napi_env env, napi_callback_info info) {
    pq_call_t call;
    void *bytes = NULL;
    size_t size = 0;
    if (!pq_call_open(env, info, &call)) return NULL;
    NAPI_TRY(env, napi_get_buffer_info(env, call.arguments[0], &bytes, &size));
    if (size > INT_MAX) {
        napi_throw_range_error(env, NULL, "one piece of COPY data is larger than 2 GiB");
        return NULL;
    }
    int status = call.pq->PQputCopyData(call.connection->handle, size == 0 ? "" : bytes, (int)size);
    connection_settle(call.connection);
    return make_int(env, status);
}

static napi_value js_pq_put_copy_end(napi_env env, napi_callback_info info) {
    pq_call_t call;
    napi_valuetype type;
    text_t problem = {0};
    if (!pq_call_open(env, info, &call)) return NULL;
    NAPI_TRY(env, napi_typeof(env, call.arguments[0], &type));
    bool has_problem = type != napi_undefined;
    if (has_problem && !text_read(env, call.arguments[0], &problem)) return NULL;
    int status = call.pq->PQputCopyEnd(call.connection->handle, has_problem ? problem.bytes : NULL);
    if (has_problem) text_free(&problem);
    connection_settle(call.connection);
    return make_int(env, status);
}

/* (async) → a Buffer, or libpq's 0: not yet, -1: done, -2: an error. */
static napi_value js_pq_get_copy_data(napi_env env, napi_callback_info info) {
    pq_call_t call;
    char *bytes = NULL;
    napi_value buffer;
    if (!pq_call_open(env, info, &call)) return NULL;
    int size = call.pq->PQgetCopyData(call.connection->handle, &bytes, pq_call_flag(&call, 0) ? 1 : 0);
    connection_settle(call.connection);
    if (size < 1) return make_int(env, size);
    napi_status status = napi_create_buffer_copy(env, (size_t)size, bytes, NULL, &buffer);
    call.pq->PQfreemem(bytes);
    NAPI_TRY(env, status);
    return buffer;
}

/* (target) → { end, status, rest }: the rows that are here, until `target` is full: how far it is filled, what of the last row did not
 * fit (a Buffer, or undefined), and what libpq said last: 0: not yet, -1: done, -2: an error, above: there may be more. */
static napi_value js_pq_get_copy_rows(napi_env env, napi_callback_info info) {
    pq_call_t call;
    unsigned char *target = NULL;
    size_t room = 0, filled = 0;
    napi_value result = NULL, rest = NULL;
    int size = 0;
    if (!pq_call_open(env, info, &call)) return NULL;
    NAPI_TRY(env, napi_get_buffer_info(env, call.arguments[0], (void **)&target, &room));
    while (filled < room) {
        char *row = NULL;
        size = call.pq->PQgetCopyData(call.connection->handle, &row, 1);
        if (size < 1) break;
        size_t taken = (size_t)size <= room - filled ? (size_t)size : room - filled;
        memcpy(target + filled, row, taken);
        filled += taken;
        napi_status status = napi_ok;
        if (taken < (size_t)size) status = napi_create_buffer_copy(env, (size_t)size - taken, row + taken, NULL, &rest);
        call.pq->PQfreemem(row);
        NAPI_TRY(env, status);
    }
    connection_settle(call.connection);
    NAPI_TRY(env, napi_create_object(env, &result));
    bool is_ok = set_property(env, result, "end", make_int(env, (int)filled)) &&
                 set_property(env, result, "status", make_int(env, size)) &&
                 (rest == NULL || set_property(env, result, "rest", rest));
    return is_ok ? result : NULL;
}

static napi_value js_pq_notifies(napi_env env, napi_callback_info info) {
    pq_call_t call;
    napi_value result;
    if (!pq_call_open(env, info, &call)) return NULL;
    PGnotify *message = call.pq->PQnotifies(call.connection->handle);
    if (message == NULL) return NULL;
    bool is_ok = napi_create_object(env, &result) == napi_ok &&
                 set_property(env, result, "relname", make_text(env, message->relname)) &&
                 set_property(env, result, "extra", make_text(env, message->extra)) &&
                 set_property(env, result, "be_pid", make_int(env, message->be_pid));
    call.pq->PQfreemem(message);
    return is_ok ? result : NULL;
}

/* Blocks for a round trip to the server. From libpq 17 the request is encrypted as the connection is. */
static napi_value js_pq_cancel(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    PGconn *handle = call.connection->handle;
    if (handle == NULL) return make_error(env, "cannot cancel: the connection is not open");
    napi_value answer = NULL;
    if (call.pq->has_release_17) {
        PGcancelConn *request = call.pq->PQcancelCreate(handle);
        bool is_sent = request != NULL && call.pq->PQcancelBlocking(request) == 1;
        answer = is_sent ? make_bool(env, true) : make_text(env, call.pq->PQcancelErrorMessage(request));
        call.pq->PQcancelFinish(request);
        return answer;
    }
    char problem[CANCEL_PROBLEM_BYTES_MAX] = "";
    PGcancel *request = call.pq->PQgetCancel(handle);
    if (request == NULL) return make_error(env, "cannot cancel: the connection is not open");
    bool is_sent = call.pq->PQcancel(request, problem, sizeof problem) == 1;
    call.pq->PQfreeCancel(request);
    return is_sent ? make_bool(env, true) : make_text(env, problem);
}

static napi_value pq_escape(napi_env env, napi_callback_info info, bool is_literal) {
    pq_call_t call;
    text_t text;
    if (!pq_call_open(env, info, &call) || !text_read(env, call.arguments[0], &text)) return NULL;
    PGconn *handle = call.connection->handle;
    char *escaped = is_literal ? call.pq->PQescapeLiteral(handle, text.bytes, text.size)
                               : call.pq->PQescapeIdentifier(handle, text.bytes, text.size);
    text_free(&text);
    napi_value result = make_text(env, escaped);
    if (escaped != NULL) call.pq->PQfreemem(escaped);
    return result;
}

static napi_value js_pq_escape_literal(napi_env env, napi_callback_info info) { return pq_escape(env, info, true); }
static napi_value js_pq_escape_identifier(napi_env env, napi_callback_info info) { return pq_escape(env, info, false); }

static napi_value make_error(napi_env env, const char *message) {
    napi_value error;
    napi_value text = make_text(env, message);
    if (text == NULL) return NULL;
    NAPI_TRY(env, napi_create_error(env, NULL, text, &error));
    return error;
}

static const napi_property_descriptor methods[] = {
    NATIVE_FUNCTION("$putCopyData", js_pq_put_copy_data),
    NATIVE_FUNCTION("$putCopyEnd", js_pq_put_copy_end),
    NATIVE_FUNCTION("$getCopyData", js_pq_get_copy_data),
    NATIVE_FUNCTION("$getCopyRows", js_pq_get_copy_rows),
    NATIVE_FUNCTION("notifies", js_pq_notifies),
    NATIVE_FUNCTION("cancel", js_pq_cancel),
    NATIVE_FUNCTION("$escapeLiteral", js_pq_escape_literal),
    NATIVE_FUNCTION("$escapeIdentifier", js_pq_escape_identifier),
};
METHOD_TABLE(pq_transfer_methods, methods);
