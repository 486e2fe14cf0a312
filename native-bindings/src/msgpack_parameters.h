/** msgpack_parameters: one msgpack array as the parameter arrays of libpq. Plain C.
 *  Owns:   the arrays and the text of numbers and strings, used again by the next read; binary values stay in the source.
 *  Thread: any, one at a time.
 *  Holds:  (1) never reads outside the bytes it was given, whatever they say.  (2) values are as JavaScript's String() would
 *          write them: what it cannot be sure of is left to JavaScript.
 *  Source: https://github.com/msgpack/msgpack/blob/master/spec.md */
#ifndef HEARTH_MSGPACK_PARAMETERS_H
#define HEARTH_MSGPACK_PARAMETERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct msgpack_parameters {
    int count;
    const char **values; /* NULL: SQL NULL */
    int *lengths;
    int *formats; /* 0 text, 1 binary */
    size_t count_capacity;
    char *text;
    size_t text_size;
    size_t text_capacity;
} msgpack_parameters_t;

typedef enum msgpack_read { MSGPACK_READ, MSGPACK_NOT_PLAIN, MSGPACK_NO_MEMORY } msgpack_read_t;

/** nil is NULL · booleans, integers and float64 are text · str is text · bin is binary. MSGPACK_NOT_PLAIN for anything
 *  else: arrays, maps, extensions, text with a NUL, numbers that number_text() leaves, or bytes that are not exactly one
 *  array. The values stay good until the next read and while `bytes` stand. */
msgpack_read_t msgpack_parameters_read(msgpack_parameters_t *parameters, const unsigned char *bytes, size_t size);
/** Gives the memory back when there is much of it. */
void msgpack_parameters_trim(msgpack_parameters_t *parameters);
void msgpack_parameters_free(msgpack_parameters_t *parameters);

#endif
