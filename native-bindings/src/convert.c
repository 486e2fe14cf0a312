/** convert: see the header.
 *  Owns: nothing.   Thread: the env's.   Holds: as there. */
#include "convert.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

napi_value convert_fail(napi_env env) {
    const napi_extended_error_info *info = NULL;
    bool is_pending = false;
    if (napi_get_last_error_info(env, &info) != napi_ok) info = NULL;
    /* The text must be taken before the next call, which resets it. */
    const char *message = info == NULL || info->error_message == NULL ? "Node-API call failed" : info->error_message;
    if (napi_is_exception_pending(env, &is_pending) == napi_ok && !is_pending) napi_throw_error(env, NULL, message);
    return NULL;
}

bool text_read(napi_env env, napi_value value, text_t *text) {
    napi_value string;
    text->bytes = text->inline_bytes;
    NAPI_TRY_BOOL(env, napi_coerce_to_string(env, value, &string));
    NAPI_TRY_BOOL(env, napi_get_value_string_utf8(env, string, text->bytes, TEXT_INLINE_BYTES, &text->size));
    if (text->size >= TEXT_INLINE_BYTES - 4) { /* cut at a character's border, perhaps: ask for the whole length */
        NAPI_TRY_BOOL(env, napi_get_value_string_utf8(env, string, NULL, 0, &text->size));
        text->bytes = malloc(text->size + 1);
        if (text->bytes == NULL) {
            napi_throw_error(env, "ENOMEM", "out of memory for a string argument");
            return false;
        }
        if (napi_get_value_string_utf8(env, string, text->bytes, text->size + 1, &text->size) != napi_ok) {
            text_free(text);
            convert_fail(env);
            return false;
        }
    }
    if (memchr(text->bytes, '\0', text->size) == NULL) return true;
    text_free(text);
    napi_throw_type_error(env, NULL, "a string has a NUL character, which C and Postgres cannot take");
    return false;
}

void text_free(text_t *text) {
    if (text->bytes != text->inline_bytes) free(text->bytes);
    text->bytes = NULL;
}

napi_value make_bool(napi_env env, bool value) {
    napi_value result;
    NAPI_TRY(env, napi_get_boolean(env, value, &result));
    return result;
}

napi_value make_int(napi_env env, int value) {
    napi_value result;
    NAPI_TRY(env, napi_create_int32(env, value, &result));
    return result;
}

napi_value make_unsigned(napi_env env, unsigned int value) {
    napi_value result;
    NAPI_TRY(env, napi_create_uint32(env, value, &result));
    return result;
}

napi_value make_text(napi_env env, const char *text) {
    if (text != NULL) return make_text_sized(env, text, strlen(text));
    napi_value result;
    NAPI_TRY(env, napi_get_null(env, &result));
    return result;
}

napi_value make_text_sized(napi_env env, const char *text, size_t size) {
    napi_value result;
    NAPI_TRY(env, napi_create_string_utf8(env, text, size, &result));
    return result;
}

bool set_property(napi_env env, napi_value object, const char *name, napi_value value) {
    if (value == NULL) return false;
    NAPI_TRY_BOOL(env, napi_set_named_property(env, object, name, value));
    return true;
}

bool add_functions(napi_env env, napi_value exports, const napi_property_descriptor *functions, size_t count) {
    NAPI_TRY_BOOL(env, napi_define_properties(env, exports, count, functions));
    return true;
}
