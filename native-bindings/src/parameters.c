/** parameters: see the header.
 *  Owns: as there.   Thread: the env's.
 *  Holds: strings are made first, since toString() may run any JavaScript; addresses of buffers are taken last. */
#include "parameters.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "convert.h"

#define PARAMETER_IS_NULL SIZE_MAX

static bool parameters_allocate(napi_env env, parameters_t *parameters, uint32_t count);
static bool parameter_read(napi_env env, napi_value array, uint32_t index, parameters_t *parameters);
static bool parameter_copy_text(napi_env env, napi_value value, parameters_t *parameters, size_t *text_at);
static bool text_reserve(napi_env env, parameters_t *parameters, size_t bytes);
static bool parameter_resolve(napi_env env, parameters_t *parameters, int index);

bool parameters_read(napi_env env, napi_value array, parameters_t *parameters) {
    uint32_t count = 0;
    NAPI_TRY_BOOL(env, napi_get_array_length(env, array, &count));
    if (count > PARAMETER_COUNT_MAX) {
        napi_throw_range_error(env, NULL, "a statement takes at most 65535 parameters");
        return false;
    }
    if (!parameters_allocate(env, parameters, count)) return false;
    bool is_ok = true;
    for (uint32_t i = 0; is_ok && i < count; i++) is_ok = parameter_read(env, array, i, parameters);
    for (int i = 0; is_ok && i < parameters->count; i++) is_ok = parameter_resolve(env, parameters, i);
    if (!is_ok) parameters_free(parameters);
    return is_ok;
}

void parameters_free(parameters_t *parameters) {
    if (parameters->values != parameters->inline_values) {
        free(parameters->values);
        free(parameters->lengths);
        free(parameters->formats);
        free(parameters->items);
    }
    if (parameters->text != parameters->inline_text) free(parameters->text);
}

static bool parameters_allocate(napi_env env, parameters_t *parameters, uint32_t count) {
    parameters->count = (int)count;
    parameters->text = parameters->inline_text;
    parameters->text_size = 0;
    parameters->text_capacity = sizeof parameters->inline_text;
    parameters->values = parameters->inline_values;
    parameters->lengths = parameters->inline_lengths;
    parameters->formats = parameters->inline_formats;
    parameters->items = parameters->inline_items;
    if (count <= PARAMETER_INLINE_COUNT) return true;
    parameters->values = calloc(count, sizeof *parameters->values);
    parameters->lengths = calloc(count, sizeof *parameters->lengths);
    parameters->formats = calloc(count, sizeof *parameters->formats);
    parameters->items = calloc(count, sizeof *parameters->items);
    if (parameters->values != NULL && parameters->lengths != NULL && parameters->formats != NULL &&
        parameters->items != NULL)
        return true;
    parameters_free(parameters);
    napi_throw_error(env, "ENOMEM", "out of memory for the parameters");
    return false;
}

static bool parameter_read(napi_env env, napi_value array, uint32_t index, parameters_t *parameters) {
    parameter_t *item = &parameters->items[index];
    napi_value value;
    napi_valuetype type;
    *item = (parameter_t){NULL, PARAMETER_IS_NULL};
    NAPI_TRY_BOOL(env, napi_get_element(env, array, index, &value));
    NAPI_TRY_BOOL(env, napi_typeof(env, value, &type));
    if (type == napi_null || type == napi_undefined) return true;
    if (type == napi_object) {
        bool is_view = false;
        napi_typedarray_type kind = napi_int8_array;
        NAPI_TRY_BOOL(env, napi_is_typedarray(env, value, &is_view));
        if (is_view) NAPI_TRY_BOOL(env, napi_get_typedarray_info(env, value, &kind, NULL, NULL, NULL, NULL));
        if (is_view && kind == napi_uint8_array) {
            item->buffer = value;
            return true;
        }
    }
    return parameter_copy_text(env, value, parameters, &item->text_at);
}

static bool parameter_copy_text(napi_env env, napi_value value, parameters_t *parameters, size_t *text_at) {
    napi_value string;
    NAPI_TRY_BOOL(env, napi_coerce_to_string(env, value, &string));
    size_t room = parameters->text_capacity - parameters->text_size;
    size_t size = 0;
    if (room > 8) {
        char *at = parameters->text + parameters->text_size;
        NAPI_TRY_BOOL(env, napi_get_value_string_utf8(env, string, at, room, &size));
    }
    if (room <= 8 || size >= room - 4) { /* perhaps cut short: make room for all of it */
        NAPI_TRY_BOOL(env, napi_get_value_string_utf8(env, string, NULL, 0, &size));
        if (!text_reserve(env, parameters, size + 1)) return false;
        char *at = parameters->text + parameters->text_size;
        NAPI_TRY_BOOL(env, napi_get_value_string_utf8(env, string, at, size + 1, &size));
    }
    if (memchr(parameters->text + parameters->text_size, '\0', size) != NULL) {
        napi_throw_type_error(env, NULL, "a parameter has a NUL character, which Postgres cannot store in text");
        return false;
    }
    *text_at = parameters->text_size;
    parameters->text_size += size + 1;
    return true;
}

static bool text_reserve(napi_env env, parameters_t *parameters, size_t bytes) {
    size_t capacity = parameters->text_capacity;
    while (capacity - parameters->text_size < bytes) capacity *= 2;
    bool is_inline = parameters->text == parameters->inline_text;
    char *text = realloc(is_inline ? NULL : parameters->text, capacity);
    if (text == NULL) {
        napi_throw_error(env, "ENOMEM", "out of memory for the parameters");
        return false;
    }
    if (is_inline) memcpy(text, parameters->inline_text, parameters->text_size);
    parameters->text = text;
    parameters->text_capacity = capacity;
    return true;
}

static bool parameter_resolve(napi_env env, parameters_t *parameters, int index) {
    const parameter_t *item = &parameters->items[index];
    parameters->formats[index] = item->buffer == NULL ? 0 : 1;
    parameters->lengths[index] = 0; /* libpq measures text itself */
    parameters->values[index] = NULL;
    if (item->buffer == NULL) {
        if (item->text_at != PARAMETER_IS_NULL) parameters->values[index] = parameters->text + item->text_at;
        return true;
    }
    void *bytes = NULL;
    size_t size = 0;
    NAPI_TRY_BOOL(env, napi_get_typedarray_info(env, item->buffer, NULL, &size, &bytes, NULL, NULL));
    if (size > INT_MAX) {
        napi_throw_range_error(env, NULL, "a parameter is larger than 2 GiB");
        return false;
    }
    /* An empty buffer has no address in Node-API, and libpq takes NULL for SQL NULL. */
    parameters->values[index] = size == 0 ? "" : bytes;
    parameters->lengths[index] = (int)size;
    return true;
}
