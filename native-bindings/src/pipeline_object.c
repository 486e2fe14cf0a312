/** pipeline_object: the class Pipeline: construction, collection, and the events on their way into JavaScript.
 *  Owns: each pipeline_object_t from construction to finalizer.   Thread: the env's.
 *  Holds: while an env ends, libuv still calls back but JavaScript cannot run: every status is checked and nothing is used
 *  that a failed call left unset. */
#include "pipeline_object.h"

#include <stdlib.h>
#include <string.h>

static napi_value js_pipeline_construct(napi_env env, napi_callback_info info);
static bool arguments_read(pipeline_call_t *call, text_t *source, double *bytes_max);
static void pipeline_finalize(napi_env env, void *data, void *hint);
static void object_free(pipeline_object_t *object);
static void object_on_connected(pipeline_t *pipeline, const char *problem);
static bool object_on_room(pipeline_t *pipeline, answer_room_t *room);
static bool object_on_answers(pipeline_t *pipeline, uint32_t count);
static bool object_on_large(pipeline_t *pipeline, int32_t id, const byte_buffer_t *body);
static bool object_on_lost(pipeline_t *pipeline, const lost_t *lost);
static void object_on_active(pipeline_t *pipeline, bool is_active);
static bool object_tell(pipeline_object_t *object, const char *method, size_t count, const napi_value *arguments);

static const pipeline_events_t object_events = {object_on_connected, object_on_room, object_on_answers,
                                                object_on_large,     object_on_lost, object_on_active};

bool pipeline_class_register(napi_env env, napi_value exports) {
    napi_value class;
    NAPI_TRY_BOOL(env, napi_define_class(env, "Pipeline", NAPI_AUTO_LENGTH, js_pipeline_construct, NULL,
                                         pipeline_method_count, pipeline_methods, &class));
    return set_property(env, exports, "Pipeline", class);
}

bool pipeline_call_open(napi_env env, napi_callback_info info, pipeline_call_t *call) {
    size_t count = ARGUMENT_COUNT_MAX;
    napi_value self;
    void *data = NULL;
    NAPI_TRY_BOOL(env, napi_get_cb_info(env, info, &count, call->arguments, &self, NULL));
    NAPI_TRY_BOOL(env, napi_unwrap(env, self, &data));
    call->env = env;
    call->object = data;
    call->pipeline = &call->object->pipeline;
    return true;
}

/* (output, answers, source, most bytes of a body) */
static napi_value js_pipeline_construct(napi_env env, napi_callback_info info) {
    size_t count = ARGUMENT_COUNT_MAX;
    pipeline_call_t call = {.env = env};
    napi_value self;
    text_t source;
    double bytes_max = 0;
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, call.arguments, &self, NULL));
    const libpq_api_t *pq = libpq_api_get();
    if (pq == NULL || !pq->has_pipeline) {
        napi_throw_error(env, "NOT_CONFIGURED", pq == NULL ? "no libpq is loaded" : "pipelines need libpq 14 or later");
        return NULL;
    }
    call.object = calloc(1, sizeof *call.object);
    if (call.object == NULL) {
        napi_throw_error(env, "ENOMEM", "out of memory for a connection");
        return NULL;
    }
    call.object->env = env;
    call.object->state = env_state_get(env);
    if (!arguments_read(&call, &source, &bytes_max)) {
        object_free(call.object);
        return NULL;
    }
    if (napi_wrap(env, self, call.object, pipeline_finalize, NULL, &call.object->self) != napi_ok) {
        text_free(&source);
        object_free(call.object);
        return convert_fail(env);
    }
    pipeline_init(&call.object->pipeline, call.object->state->group, pq, &object_events, source.bytes, (size_t)bytes_max);
    text_free(&source);
    return self;
}

static bool arguments_read(pipeline_call_t *call, text_t *source, double *bytes_max) {
    napi_env env = call->env;
    napi_typedarray_type type = napi_uint8_array;
    size_t size = 0;
    NAPI_TRY_BOOL(env, napi_get_typedarray_info(env, call->arguments[0], &type, &size, NULL, NULL, NULL));
    if (type != napi_uint8_array || size < OUTPUT_BYTES_MIN || size > INT32_MAX) {
        napi_throw_range_error(env, NULL, "output must be a Buffer of 4096 bytes or more, below 2 GiB");
        return false;
    }
    NAPI_TRY_BOOL(env, napi_get_typedarray_info(env, call->arguments[1], &type, &size, NULL, NULL, NULL));
    if (type != napi_int32_array || size < ANSWER_WORDS) {
        napi_throw_range_error(env, NULL, "answers must be an Int32Array of 4 words or more");
        return false;
    }
    NAPI_TRY_BOOL(env, napi_get_value_double(env, call->arguments[3], bytes_max));
    if (!(*bytes_max >= 1 && *bytes_max <= INT32_MAX)) {
        napi_throw_range_error(env, NULL, "maxBytes must be from 1 to 2^31 - 1");
        return false;
    }
    NAPI_TRY_BOOL(env, napi_create_reference(env, call->arguments[0], 1, &call->object->output));
    NAPI_TRY_BOOL(env, napi_create_reference(env, call->arguments[1], 1, &call->object->answers));
    if (!text_read(env, call->arguments[2], source)) return false;
    if (source->size < SOURCE_BYTES_MAX) return true;
    text_free(source);
    napi_throw_range_error(env, NULL, "source must have less than 64 bytes");
    return false;
}

/* Also runs for objects that the end of the env has closed already: closing twice is harmless. */
static void pipeline_finalize(napi_env env, void *data, void *hint) {
    (void)env;
    (void)hint;
    pipeline_object_t *object = data;
    object->state = NULL; /* no reference counting any more: the object is going */
    pipeline_destroy(&object->pipeline);
    object_free(object);
}

static void object_free(pipeline_object_t *object) {
    if (object->self != NULL) napi_delete_reference(object->env, object->self);
    if (object->output != NULL) napi_delete_reference(object->env, object->output);
    if (object->answers != NULL) napi_delete_reference(object->env, object->answers);
    free(object);
}

static void object_on_connected(pipeline_t *pipeline, const char *problem) {
    pipeline_object_t *object = (pipeline_object_t *)pipeline;
    napi_handle_scope scope;
    napi_value words = NULL;
    if (napi_open_handle_scope(object->env, &scope) != napi_ok) return;
    napi_status status = problem == NULL ? napi_get_undefined(object->env, &words)
                                         : napi_create_string_utf8(object->env, problem, NAPI_AUTO_LENGTH, &words);
    if (status == napi_ok) object_tell(object, "$onConnected", 1, &words);
    napi_close_handle_scope(object->env, scope);
}

static bool room_read(napi_env env, napi_ref reference, void **data, size_t *length) {
    napi_value array = NULL;
    return napi_get_reference_value(env, reference, &array) == napi_ok && array != NULL &&
           napi_get_typedarray_info(env, array, NULL, length, data, NULL, NULL) == napi_ok;
}

/* Looked up for each event: a buffer that JavaScript has given away meanwhile has moved. */
static bool object_on_room(pipeline_t *pipeline, answer_room_t *room) {
    pipeline_object_t *object = (pipeline_object_t *)pipeline;
    napi_handle_scope scope;
    void *output = NULL;
    void *answers = NULL;
    size_t output_size = 0;
    size_t word_count = 0;
    if (napi_open_handle_scope(object->env, &scope) != napi_ok) return false;
    bool is_ok = room_read(object->env, object->output, &output, &output_size) &&
                 room_read(object->env, object->answers, &answers, &word_count) && output_size >= OUTPUT_BYTES_MIN &&
                 word_count >= ANSWER_WORDS;
    if (is_ok) *room = (answer_room_t){output, output_size, answers, (uint32_t)(word_count / ANSWER_WORDS)};
    return napi_close_handle_scope(object->env, scope) == napi_ok && is_ok;
}

static bool object_on_answers(pipeline_t *pipeline, uint32_t count) {
    pipeline_object_t *object = (pipeline_object_t *)pipeline;
    napi_handle_scope scope;
    napi_value argument = NULL;
    if (napi_open_handle_scope(object->env, &scope) != napi_ok) return false;
    bool is_told = napi_create_uint32(object->env, count, &argument) == napi_ok &&
                   object_tell(object, "$onAnswers", 1, &argument);
    return napi_close_handle_scope(object->env, scope) == napi_ok && is_told;
}

static bool object_on_large(pipeline_t *pipeline, int32_t id, const byte_buffer_t *body) {
    pipeline_object_t *object = (pipeline_object_t *)pipeline;
    napi_handle_scope scope;
    napi_value arguments[2] = {NULL, NULL};
    if (napi_open_handle_scope(object->env, &scope) != napi_ok) return false;
    bool is_told = napi_create_int32(object->env, id, &arguments[0]) == napi_ok &&
                   napi_create_buffer_copy(object->env, body->size, body->bytes, NULL, &arguments[1]) == napi_ok &&
                   object_tell(object, "$onLarge", 2, arguments);
    return napi_close_handle_scope(object->env, scope) == napi_ok && is_told;
}

static bool object_on_lost(pipeline_t *pipeline, const lost_t *lost) {
    pipeline_object_t *object = (pipeline_object_t *)pipeline;
    napi_handle_scope scope;
    napi_value arguments[4] = {NULL, NULL, NULL, NULL};
    if (napi_open_handle_scope(object->env, &scope) != napi_ok) return false;
    bool is_told = napi_create_string_utf8(object->env, lost->problem, NAPI_AUTO_LENGTH, &arguments[0]) == napi_ok &&
                   napi_create_string_utf8(object->env, lost->sql_state, NAPI_AUTO_LENGTH, &arguments[1]) == napi_ok &&
                   napi_create_uint32(object->env, lost->unsent_count, &arguments[2]) == napi_ok &&
                   napi_get_boolean(object->env, lost->is_oldest_undone, &arguments[3]) == napi_ok &&
                   object_tell(object, "$onLost", 4, arguments);
    return napi_close_handle_scope(object->env, scope) == napi_ok && is_told;
}

static void object_on_active(pipeline_t *pipeline, bool is_active) {
    pipeline_object_t *object = (pipeline_object_t *)pipeline;
    if (object->state == NULL || object->state->is_ending) return;
    uint32_t count = 0;
    if (is_active) {
        napi_reference_ref(object->env, object->self, &count);
    } else {
        napi_reference_unref(object->env, object->self, &count);
    }
}

static bool object_tell(pipeline_object_t *object, const char *method, size_t count, const napi_value *arguments) {
    napi_value self = NULL;
    napi_value function = NULL;
    if (napi_get_reference_value(object->env, object->self, &self) != napi_ok || self == NULL) return false;
    if (napi_get_named_property(object->env, self, method, &function) != napi_ok) return false;
    return call_from_loop(object->env, self, function, count, arguments);
}

bool call_from_loop(napi_env env, napi_value self, napi_value function, size_t count, const napi_value *arguments) {
    napi_value returned = NULL;
    napi_value exception = NULL;
    /* make_callback and not call_function: it runs the microtasks and process.nextTick() afterwards. */
    napi_status status = napi_make_callback(env, NULL, self, function, count, arguments, &returned);
    if (status == napi_ok) return true;
    if (status != napi_pending_exception) return false;
    if (napi_get_and_clear_last_exception(env, &exception) != napi_ok || exception == NULL) return false;
    return napi_fatal_exception(env, exception) == napi_ok;
}
