/** convert: the words in which addon files speak Node-API: checked calls, arguments as C values.
 *  Owns:   nothing beyond a text_t between text_read() and text_free().
 *  Thread: the JavaScript thread of the env.
 *  Holds:  every Node-API status is looked at; a failure leaves exactly one exception pending. */
#ifndef HEARTH_CONVERT_H
#define HEARTH_CONVERT_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>

#define ARGUMENT_COUNT_MAX 6
#define TEXT_INLINE_BYTES 1024

/** For functions that JavaScript calls: leaves with the failure as an exception. */
#define NAPI_TRY(env, call)                                   \
    do {                                                      \
        if ((call) != napi_ok) return convert_fail((env));    \
    } while (0)

/** The same in helpers that return bool. */
#define NAPI_TRY_BOOL(env, call)                              \
    do {                                                      \
        if ((call) != napi_ok) {                              \
            convert_fail((env));                              \
            return false;                                     \
        }                                                     \
    } while (0)

typedef struct text {
    char *bytes; /* NUL-terminated UTF-8 */
    size_t size;
    char inline_bytes[TEXT_INLINE_BYTES];
} text_t;

/** Makes the last Node-API failure an exception, unless one is pending. Always NULL. */
napi_value convert_fail(napi_env env);
/** `value` as String(value) would have it. False with an exception when that throws or it has a NUL character. */
bool text_read(napi_env env, napi_value value, text_t *text);
void text_free(text_t *text);

napi_value make_bool(napi_env env, bool value);
napi_value make_int(napi_env env, int value);
napi_value make_unsigned(napi_env env, unsigned int value);
/** A string, or null for NULL. */
napi_value make_text(napi_env env, const char *text);
napi_value make_text_sized(napi_env env, const char *text, size_t size);
bool set_property(napi_env env, napi_value object, const char *name, napi_value value);
/** Adds `count` functions to `exports`. */
bool add_functions(napi_env env, napi_value exports, const napi_property_descriptor *functions, size_t count);

#define NATIVE_FUNCTION(name, function) \
    { (name), NULL, (function), NULL, NULL, NULL, napi_default_method, NULL }

#endif
