/** pq_pipeline: PQ's methods for pipeline mode, there from libpq 14 on.
 *  Owns: nothing.   Thread: the env's.   Holds: with an older libpq each is refused with one sentence. */
#include "pq_object.h"

static bool pipeline_open(napi_env env, napi_callback_info info, pq_call_t *call) {
    if (!pq_call_open(env, info, call)) return false;
    if (call->pq->has_pipeline) return true;
    napi_throw_error(env, NULL, "Pipeline mode is not supported. It needs libpq of PostgreSQL 14 or later.");
    return false;
}

#define PIPELINE_METHOD(js_name, make, expression)                        \
    static napi_value js_name(napi_env env, napi_callback_info info) {    \
        pq_call_t call;                                                   \
        if (!pipeline_open(env, info, &call)) return NULL;                \
        const libpq_api_t *pq = call.pq;                                  \
        PGconn *handle = call.connection->handle;                         \
        napi_value result = make(env, expression);                        \
        connection_settle(call.connection);                               \
        return result;                                                    \
    }

PIPELINE_METHOD(js_pq_enter_pipeline_mode, make_bool, pq->PQenterPipelineMode(handle) == 1)
PIPELINE_METHOD(js_pq_exit_pipeline_mode, make_bool, pq->PQexitPipelineMode(handle) == 1)
PIPELINE_METHOD(js_pq_pipeline_status, make_int, pq->PQpipelineStatus(handle))
PIPELINE_METHOD(js_pq_pipeline_sync, make_bool, pq->PQpipelineSync(handle) == 1)
PIPELINE_METHOD(js_pq_send_flush_request, make_bool, pq->PQsendFlushRequest(handle) == 1)

static const napi_property_descriptor methods[] = {
    NATIVE_FUNCTION("$enterPipelineMode", js_pq_enter_pipeline_mode),
    NATIVE_FUNCTION("$exitPipelineMode", js_pq_exit_pipeline_mode),
    NATIVE_FUNCTION("$pipelineStatus", js_pq_pipeline_status),
    NATIVE_FUNCTION("$pipelineSync", js_pq_pipeline_sync),
    NATIVE_FUNCTION("$sendFlushRequest", js_pq_send_flush_request),
};
METHOD_TABLE(pq_pipeline_methods, methods);
