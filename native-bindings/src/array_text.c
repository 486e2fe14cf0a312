/** array_text: Postgres' text form of an array as nested msgpack arrays.
 *  Owns: nothing.   Thread: any.
 *  Holds: an array that is not whole goes as a str; an element that does not parse as its type is a str within the array.
 *
 *      [0:1]={{1,NULL},{"a \"b\"",2}}      bounds, which are left out; nesting; a null; a quoted element with escapes */
#include <string.h>

#include "value_encode.h"

/* Postgres has six dimensions at most. */
#define ARRAY_DEPTH_MAX 6

typedef struct array_cursor {
    byte_buffer_t *out;
    byte_buffer_t *scratch;
    int kind;
    const char *at;
    const char *end;
} array_cursor_t;

static bool skip_bounds(array_cursor_t *array);
static bool put_list(array_cursor_t *array, int depth);
static bool put_bare(array_cursor_t *array);
static bool put_quoted(array_cursor_t *array);
static void put_unescaped(array_cursor_t *array, const char *text, size_t size, size_t unescaped_size);

void array_put_text(byte_buffer_t *out, byte_buffer_t *scratch, int kind, const char *text, size_t size) {
    size_t start = out->size;
    array_cursor_t array = {out, scratch, kind, text, text + size};
    bool is_list = skip_bounds(&array) && array.at < array.end && *array.at == '{';
    bool is_whole = is_list && put_list(&array, 1) && array.at == array.end;
    if (is_whole || out->status != BUFFER_OK) return;
    byte_buffer_truncate(out, start);
    byte_buffer_put_str(out, text, size);
}

/* [low:high] for each dimension, then '='; or nothing of it. */
static bool skip_bounds(array_cursor_t *array) {
    if (array->at == array->end || *array->at != '[') return true;
    while (array->at < array->end && memchr("[-0123456789:]", *array->at, 14) != NULL) array->at++;
    return array->at < array->end && array->at[-1] == ']' && *array->at++ == '=';
}

/* From '{' to behind its '}'. */
static bool put_list(array_cursor_t *array, int depth) {
    if (depth > ARRAY_DEPTH_MAX) return false;
    size_t position = byte_buffer_open_array(array->out);
    uint32_t count = 0;
    array->at++;
    if (array->at < array->end && *array->at == '}') {
        array->at++;
        byte_buffer_close_array(array->out, position, 0);
        return true;
    }
    while (array->at < array->end && array->out->status == BUFFER_OK) {
        bool is_put = *array->at == '{'   ? put_list(array, depth + 1)
                      : *array->at == '"' ? put_quoted(array)
                                          : put_bare(array);
        if (!is_put || array->at == array->end) return false;
        count++;
        char next = *array->at++;
        if (next == '}') {
            byte_buffer_close_array(array->out, position, count);
            return true;
        }
        if (next != ',') return false;
    }
    return false;
}

static bool put_bare(array_cursor_t *array) {
    const char *start = array->at;
    while (array->at < array->end && *array->at != ',' && *array->at != '}') {
        if (*array->at == '"' || *array->at == '\\' || *array->at == '{') return false;
        array->at++;
    }
    size_t size = (size_t)(array->at - start);
    if (size == 0) return false; /* an empty text would be quoted */
    if (size == 4 && memcmp(start, "NULL", 4) == 0) byte_buffer_put_nil(array->out);
    else value_put_text(array->out, array->kind, start, size);
    return true;
}

static bool put_quoted(array_cursor_t *array) {
    const char *start = ++array->at;
    size_t escapes = 0;
    while (array->at < array->end && *array->at != '"') {
        if (*array->at == '\\') {
            escapes++;
            if (++array->at == array->end) return false;
        }
        array->at++;
    }
    if (array->at == array->end) return false;
    size_t size = (size_t)(array->at++ - start);
    if (escapes == 0) value_put_text(array->out, array->kind, start, size);
    else put_unescaped(array, start, size, size - escapes);
    return true;
}

static void put_unescaped(array_cursor_t *array, const char *text, size_t size, size_t unescaped_size) {
    byte_buffer_truncate(array->scratch, 0);
    unsigned char *bytes = byte_buffer_reserve(array->scratch, unescaped_size);
    if (bytes == NULL) {
        byte_buffer_fail(array->out, array->scratch->status);
        return;
    }
    for (size_t i = 0, at = 0; i < size; i++, at++) {
        if (text[i] == '\\') i++;
        bytes[at] = (unsigned char)text[i];
    }
    value_put_text(array->out, array->kind, (const char *)bytes, unescaped_size);
}
