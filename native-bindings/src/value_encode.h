/** value_encode: one value of a result, from Postgres' text or binary form, as msgpack. Plain C.
 *  Owns:   nothing.
 *  Thread: any.
 *  Holds:  (1) exactly one msgpack value is written, whatever the bytes are.  (2) nothing is read past `size`. */
#ifndef HEARTH_VALUE_ENCODE_H
#define HEARTH_VALUE_ENCODE_H

#include "byte_buffer.h"
#include "pg_types.h"

/** Milliseconds since 1970 that a JavaScript Date can hold; a local one, whatever the time zone, some less. */
#define DATE_MS_MAX 8640000000000000
#define LOCAL_DATE_MS_MAX (DATE_MS_MAX - 86400000)

/** The text form of a type that is no array. What does not parse goes as a str. */
void value_put_text(byte_buffer_t *out, int kind, const char *text, size_t size);
/** The text form of an array of `kind`. `scratch` is for elements that have to be unescaped; its content is of no use. */
void array_put_text(byte_buffer_t *out, byte_buffer_t *scratch, int kind, const char *text, size_t size);
/** The binary form; one whose length is wrong goes as a str, one that is not known (BINARY_NONE) as a bin. */
void value_put_binary(byte_buffer_t *out, pg_binary_t form, int kind, const char *bytes, size_t size);

#endif
