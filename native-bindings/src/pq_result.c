/** pq_result: PQ's methods that read the last result.
 *  Owns: nothing.   Thread: the env's.
 *  Holds: libpq answers for a NULL result and for a row or column out of range; so these never throw for them. */
#include "pq_object.h"
#include "result_encode.h"

typedef struct error_field {
    int field;
    const char *name;
} error_field_t;

/* PG_DIAG_… of libpq, under the names that npm libpq gives them. */
static const error_field_t error_fields[] = {
    {'S', "severity"},         {'C', "sqlState"},         {'M', "messagePrimary"}, {'D', "messageDetail"},
    {'H', "messageHint"},      {'P', "statementPosition"}, {'p', "internalPosition"}, {'q', "internalQuery"},
    {'W', "context"},          {'s', "schemaName"},       {'t', "tableName"},      {'c', "columnName"},
    {'d', "dataTypeName"},     {'n', "constraintName"},   {'F', "sourceFile"},     {'L', "sourceLine"},
    {'R', "sourceFunction"},
};

#define RESULT_METHOD(js_name, make, expression)                          \
    static napi_value js_name(napi_env env, napi_callback_info info) {    \
        pq_call_t call;                                                   \
        if (!pq_call_open(env, info, &call)) return NULL;                 \
        const libpq_api_t *pq = call.pq;                                  \
        PGresult *result = call.connection->result;                       \
        return make(env, expression);                                     \
    }

static const char *text_or_empty(const char *text) { return text == NULL ? "" : text; }

RESULT_METHOD(js_pq_ntuples, make_int, pq->PQntuples(result))
RESULT_METHOD(js_pq_nfields, make_int, pq->PQnfields(result))
RESULT_METHOD(js_pq_fname, make_text, pq->PQfname(result, pq_call_int(&call, 0)))
RESULT_METHOD(js_pq_ftable, make_unsigned, pq->PQftable(result, pq_call_int(&call, 0)))
RESULT_METHOD(js_pq_ftablecol, make_int, pq->PQftablecol(result, pq_call_int(&call, 0)))
RESULT_METHOD(js_pq_ftype, make_unsigned, pq->PQftype(result, pq_call_int(&call, 0)))
RESULT_METHOD(js_pq_getisnull, make_bool,
              pq->PQgetisnull(result, pq_call_int(&call, 0), pq_call_int(&call, 1)) == 1)
RESULT_METHOD(js_pq_nparams, make_int, pq->PQnparams(result))
RESULT_METHOD(js_pq_paramtype, make_unsigned, pq->PQparamtype(result, pq_call_int(&call, 0)))
RESULT_METHOD(js_pq_cmd_status, make_text, text_or_empty(pq->PQcmdStatus(result)))
RESULT_METHOD(js_pq_cmd_tuples, make_text, text_or_empty(pq->PQcmdTuples(result)))
RESULT_METHOD(js_pq_result_status, make_text, pq->PQresStatus(pq->PQresultStatus(result)))
RESULT_METHOD(js_pq_result_error_message, make_text, text_or_empty(pq->PQresultErrorMessage(result)))

static napi_value js_pq_getvalue(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    const PGresult *result = call.connection->result;
    int row = pq_call_int(&call, 0);
    int column = pq_call_int(&call, 1);
    const char *value = call.pq->PQgetvalue(result, row, column);
    if (value == NULL) return make_text(env, NULL);
    return make_text_sized(env, value, (size_t)call.pq->PQgetlength(result, row, column));
}

static napi_value js_pq_result_error_fields(napi_env env, napi_callback_info info) {
    pq_call_t call;
    napi_value fields;
    if (!pq_call_open(env, info, &call)) return NULL;
    if (call.connection->result == NULL) return make_text(env, NULL);
    NAPI_TRY(env, napi_create_object(env, &fields));
    for (size_t i = 0; i < sizeof error_fields / sizeof *error_fields; i++) {
        const char *value = call.pq->PQresultErrorField(call.connection->result, error_fields[i].field);
        if (value == NULL) continue;
        if (!set_property(env, fields, error_fields[i].name, make_text(env, value))) return NULL;
    }
    return fields;
}

/* (source, most bytes): the ROWS body of the last result, undefined when it is longer. */
static napi_value js_pq_encode_result(napi_env env, napi_callback_info info) {
    pq_call_t call;
    text_t source;
    double bytes_max = 0;
    napi_value encoded = NULL;
    if (!pq_call_open(env, info, &call)) return NULL;
    NAPI_TRY(env, napi_get_value_double(env, call.arguments[1], &bytes_max));
    if (!text_read(env, call.arguments[0], &source)) return NULL;
    const PGresult *result = call.connection->result;
    byte_buffer_t out;
    byte_buffer_init(&out, bytes_max > 0 && bytes_max < UINT32_MAX ? (size_t)bytes_max : 0);
    shape_t *shape = shape_create(call.pq, result);
    bool is_encoded = shape != NULL && result_encode(&out, call.pq, result, shape, source.bytes);
    bool is_out_of_memory = shape == NULL || out.status == BUFFER_NO_MEMORY;
    shape_destroy(shape);
    text_free(&source);
    napi_status status = napi_ok;
    if (is_encoded) status = napi_create_buffer_copy(env, out.size, out.bytes, NULL, &encoded);
    byte_buffer_free(&out);
    if (is_out_of_memory) {
        napi_throw_error(env, "ENOMEM", "out of memory for a result");
        return NULL;
    }
    NAPI_TRY(env, status);
    return encoded;
}

static napi_value js_pq_clear(napi_env env, napi_callback_info info) {
    pq_call_t call;
    if (!pq_call_open(env, info, &call)) return NULL;
    connection_keep(call.connection, NULL);
    return NULL;
}

static const napi_property_descriptor methods[] = {
    NATIVE_FUNCTION("ntuples", js_pq_ntuples),
    NATIVE_FUNCTION("nfields", js_pq_nfields),
    NATIVE_FUNCTION("fname", js_pq_fname),
    NATIVE_FUNCTION("ftable", js_pq_ftable),
    NATIVE_FUNCTION("ftablecol", js_pq_ftablecol),
    NATIVE_FUNCTION("ftype", js_pq_ftype),
    NATIVE_FUNCTION("getvalue", js_pq_getvalue),
    NATIVE_FUNCTION("getisnull", js_pq_getisnull),
    NATIVE_FUNCTION("nparams", js_pq_nparams),
    NATIVE_FUNCTION("paramtype", js_pq_paramtype),
    NATIVE_FUNCTION("cmdStatus", js_pq_cmd_status),
    NATIVE_FUNCTION("cmdTuples", js_pq_cmd_tuples),
    NATIVE_FUNCTION("resultStatus", js_pq_result_status),
    NATIVE_FUNCTION("resultErrorMessage", js_pq_result_error_message),
    NATIVE_FUNCTION("resultErrorFields", js_pq_result_error_fields),
    NATIVE_FUNCTION("$encodeResult", js_pq_encode_result),
    NATIVE_FUNCTION("clear", js_pq_clear),
};
METHOD_TABLE(pq_result_methods, methods);
