/** parameters: a JavaScript array as the parameter arrays of libpq.
 *  Owns:   the copied strings until parameters_free(); bytes of buffers stay JavaScript's.
 *  Thread: the env's. Nothing of JavaScript may run between parameters_read() and the libpq call.
 *  Holds:  null and undefined are NULL; a Uint8Array goes as binary (format 1), also when it is empty; all else as text. */
#ifndef HEARTH_PARAMETERS_H
#define HEARTH_PARAMETERS_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>

#define PARAMETER_COUNT_MAX 65535 /* the protocol counts them in 16 bits */
#define PARAMETER_INLINE_COUNT 16
#define PARAMETER_INLINE_BYTES 2048

typedef struct parameter {
    napi_value buffer; /* NULL: text or NULL parameter */
    size_t text_at;    /* offset in `text`; PARAMETER_IS_NULL for a NULL */
} parameter_t;

typedef struct parameters {
    int count;
    const char **values;
    int *lengths;
    int *formats;
    parameter_t *items;
    char *text;
    size_t text_size;
    size_t text_capacity;
    const char *inline_values[PARAMETER_INLINE_COUNT];
    int inline_lengths[PARAMETER_INLINE_COUNT];
    int inline_formats[PARAMETER_INLINE_COUNT];
    parameter_t inline_items[PARAMETER_INLINE_COUNT];
    char inline_text[PARAMETER_INLINE_BYTES];
} parameters_t;

/** False with an exception pending, and nothing to free. */
bool parameters_read(napi_env env, napi_value array, parameters_t *parameters);
void parameters_free(parameters_t *parameters);

#endif
