/** byte_buffer: bytes that grow up to a limit, and msgpack written into them. Plain C.
 *  Owns:   its memory, from the first write to byte_buffer_free().
 *  Thread: any, one at a time.
 *  Holds:  (1) `size` never passes `limit`.  (2) Once a write did not fit, `status` says so and nothing more is written, so
 *          that a caller may write on and look once.  (3) Integers are in their shortest form.
 *  Source: https://github.com/msgpack/msgpack/blob/master/spec.md */
#ifndef HEARTH_BYTE_BUFFER_H
#define HEARTH_BYTE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum byte_buffer_status { BUFFER_OK = 0, BUFFER_FULL, BUFFER_NO_MEMORY } byte_buffer_status_t;

typedef struct byte_buffer {
    unsigned char *bytes;
    size_t size;
    size_t capacity; /* allocated */
    size_t limit;    /* of `size`; changed by byte_buffer_set_limit() alone */
    size_t edge;     /* up to here is room without a look at anything else */
    byte_buffer_status_t status;
} byte_buffer_t;

/** Empty, without memory yet. */
void byte_buffer_init(byte_buffer_t *buffer, size_t limit);
void byte_buffer_free(byte_buffer_t *buffer);
/** Cuts back to `size`, which it has had before, and is in order again. Keeps the memory. */
void byte_buffer_truncate(byte_buffer_t *buffer, size_t size);
/** Makes the buffer take nothing more, for a reason (not BUFFER_OK) that its writer has met elsewhere. */
void byte_buffer_fail(byte_buffer_t *buffer, byte_buffer_status_t status);
/** Counts from the buffer's start: for one message more among others, size + what it may have. */
void byte_buffer_set_limit(byte_buffer_t *buffer, size_t limit);
/** Gives back the memory above `size` when there is more than `keep` of it. */
void byte_buffer_shrink(byte_buffer_t *buffer, size_t keep);
/** Where `room` more bytes go; the caller writes all of them and adds to `size`. NULL when they do not fit. */
unsigned char *byte_buffer_reserve(byte_buffer_t *buffer, size_t room);

void byte_buffer_put(byte_buffer_t *buffer, const void *bytes, size_t size);
void byte_buffer_put_nil(byte_buffer_t *buffer);
void byte_buffer_put_bool(byte_buffer_t *buffer, bool value);
/** Shortest form; past 32 bits float64, as engine/protocol/body.ts has it (exact up to 2^53). */
void byte_buffer_put_uint(byte_buffer_t *buffer, uint64_t value);
/** Shortest form; past 32 bits float64 where that is exact (|value| < 2^53), else int64. */
void byte_buffer_put_int(byte_buffer_t *buffer, int64_t value);
void byte_buffer_put_int64(byte_buffer_t *buffer, int64_t value);
void byte_buffer_put_float64(byte_buffer_t *buffer, double value);
void byte_buffer_put_str(byte_buffer_t *buffer, const char *text, size_t size);
void byte_buffer_put_bin(byte_buffer_t *buffer, const void *bytes, size_t size);
/** The header alone of a str or bin of so many bytes, which the caller puts next. More than 32 bits: BUFFER_FULL. */
void byte_buffer_put_str_header(byte_buffer_t *buffer, size_t size);
void byte_buffer_put_bin_header(byte_buffer_t *buffer, size_t size);
void byte_buffer_put_array_header(byte_buffer_t *buffer, uint64_t count);
/** The header of an array whose count is not known yet (array32): its position, for byte_buffer_close_array(). */
size_t byte_buffer_open_array(byte_buffer_t *buffer);
void byte_buffer_close_array(byte_buffer_t *buffer, size_t position, uint32_t count);

#endif
