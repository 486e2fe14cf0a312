/** byte_buffer: see the header.
 *  Owns: as there.   Thread: as there.
 *  Holds: (4) edge is min(capacity, limit) while in order, and `size` once it is not, so that reserve() looks at one field. */
#include "byte_buffer.h"

#include <stdlib.h>
#include <string.h>

#define CAPACITY_BYTES_MIN 1024
#define EXACT_INTEGER_MAX 9007199254740991 /* 2^53 - 1 */

static unsigned char *grow(byte_buffer_t *buffer, size_t room);
static void put_sized(byte_buffer_t *buffer, unsigned char head, uint64_t value, int bytes);

static void find_edge(byte_buffer_t *buffer) {
    buffer->edge = buffer->capacity < buffer->limit ? buffer->capacity : buffer->limit;
    if (buffer->edge < buffer->size) buffer->edge = buffer->size;
}

void byte_buffer_fail(byte_buffer_t *buffer, byte_buffer_status_t status) {
    if (buffer->status == BUFFER_OK) buffer->status = status;
    buffer->edge = buffer->size;
}

static unsigned char *fail(byte_buffer_t *buffer, byte_buffer_status_t status) {
    byte_buffer_fail(buffer, status);
    return NULL;
}

void byte_buffer_init(byte_buffer_t *buffer, size_t limit) {
    memset(buffer, 0, sizeof *buffer);
    buffer->limit = limit;
}

void byte_buffer_free(byte_buffer_t *buffer) {
    free(buffer->bytes);
    byte_buffer_init(buffer, buffer->limit);
}

void byte_buffer_truncate(byte_buffer_t *buffer, size_t size) {
    if (size < buffer->size) buffer->size = size;
    buffer->status = BUFFER_OK;
    find_edge(buffer);
}

void byte_buffer_set_limit(byte_buffer_t *buffer, size_t limit) {
    buffer->limit = limit;
    if (buffer->status == BUFFER_OK) find_edge(buffer);
}

void byte_buffer_shrink(byte_buffer_t *buffer, size_t keep) {
    if (keep < buffer->size) keep = buffer->size;
    if (buffer->capacity <= keep) return;
    if (keep == 0) {
        free(buffer->bytes);
        buffer->bytes = NULL;
    } else {
        unsigned char *bytes = realloc(buffer->bytes, keep);
        if (bytes == NULL) return;
        buffer->bytes = bytes;
    }
    buffer->capacity = keep;
    if (buffer->status == BUFFER_OK) find_edge(buffer);
}

unsigned char *byte_buffer_reserve(byte_buffer_t *buffer, size_t room) {
    if (room <= buffer->edge - buffer->size && buffer->bytes != NULL) return buffer->bytes + buffer->size;
    return grow(buffer, room);
}

static unsigned char *grow(byte_buffer_t *buffer, size_t room) {
    if (buffer->status != BUFFER_OK) return NULL;
    if (buffer->size > buffer->limit || room > buffer->limit - buffer->size) return fail(buffer, BUFFER_FULL);
    size_t needed = buffer->size + room;
    size_t capacity = buffer->capacity < CAPACITY_BYTES_MIN ? CAPACITY_BYTES_MIN : buffer->capacity;
    while (capacity < needed) capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
    if (capacity > buffer->limit) capacity = buffer->limit > needed ? buffer->limit : needed;
    if (capacity == 0) capacity = 1; /* no room asked for and none allowed: still an address */
    unsigned char *bytes = realloc(buffer->bytes, capacity);
    if (bytes == NULL) return fail(buffer, BUFFER_NO_MEMORY);
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    find_edge(buffer);
    return bytes + buffer->size;
}

void byte_buffer_put(byte_buffer_t *buffer, const void *bytes, size_t size) {
    if (size == 0) return;
    unsigned char *at = byte_buffer_reserve(buffer, size);
    if (at == NULL) return;
    memcpy(at, bytes, size);
    buffer->size += size;
}

static void put_byte(byte_buffer_t *buffer, unsigned char byte) {
    unsigned char *at = byte_buffer_reserve(buffer, 1);
    if (at == NULL) return;
    *at = byte;
    buffer->size++;
}

/* A head and so many bytes of a number, the highest first. */
static void put_sized(byte_buffer_t *buffer, unsigned char head, uint64_t value, int bytes) {
    unsigned char *at = byte_buffer_reserve(buffer, 1 + (size_t)bytes);
    if (at == NULL) return;
    *at++ = head;
    for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) *at++ = (unsigned char)(value >> shift);
    buffer->size += 1 + (size_t)bytes;
}

void byte_buffer_put_nil(byte_buffer_t *buffer) { put_byte(buffer, 0xc0); }

void byte_buffer_put_bool(byte_buffer_t *buffer, bool value) { put_byte(buffer, value ? 0xc3 : 0xc2); }

void byte_buffer_put_uint(byte_buffer_t *buffer, uint64_t value) {
    if (value < 0x80) {
        put_byte(buffer, (unsigned char)value);
    } else if (value <= 0xff) {
        put_sized(buffer, 0xcc, value, 1);
    } else if (value <= 0xffff) {
        put_sized(buffer, 0xcd, value, 2);
    } else if (value <= 0xffffffff) {
        put_sized(buffer, 0xce, value, 4);
    } else {
        byte_buffer_put_float64(buffer, (double)value);
    }
}

void byte_buffer_put_int(byte_buffer_t *buffer, int64_t value) {
    if (value >= 0 && value <= 0xffffffff) {
        byte_buffer_put_uint(buffer, (uint64_t)value);
    } else if (value > EXACT_INTEGER_MAX || value < -EXACT_INTEGER_MAX) {
        byte_buffer_put_int64(buffer, value);
    } else if (value >= 0 || value < INT32_MIN) {
        byte_buffer_put_float64(buffer, (double)value);
    } else if (value >= -32) {
        put_byte(buffer, (unsigned char)value);
    } else if (value >= INT8_MIN) {
        put_sized(buffer, 0xd0, (uint64_t)value, 1);
    } else if (value >= INT16_MIN) {
        put_sized(buffer, 0xd1, (uint64_t)value, 2);
    } else {
        put_sized(buffer, 0xd2, (uint64_t)value, 4);
    }
}

void byte_buffer_put_int64(byte_buffer_t *buffer, int64_t value) { put_sized(buffer, 0xd3, (uint64_t)value, 8); }

void byte_buffer_put_float64(byte_buffer_t *buffer, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_sized(buffer, 0xcb, bits, 8);
}

void byte_buffer_put_str(byte_buffer_t *buffer, const char *text, size_t size) {
    byte_buffer_put_str_header(buffer, size);
    byte_buffer_put(buffer, text, size);
}

void byte_buffer_put_bin(byte_buffer_t *buffer, const void *bytes, size_t size) {
    byte_buffer_put_bin_header(buffer, size);
    byte_buffer_put(buffer, bytes, size);
}

void byte_buffer_put_str_header(byte_buffer_t *buffer, size_t size) {
    if (size < 32) {
        put_byte(buffer, (unsigned char)(0xa0 | size));
    } else if (size <= 0xff) {
        put_sized(buffer, 0xd9, size, 1);
    } else if (size <= 0xffff) {
        put_sized(buffer, 0xda, size, 2);
    } else if (size <= 0xffffffff) {
        put_sized(buffer, 0xdb, size, 4);
    } else {
        fail(buffer, BUFFER_FULL);
    }
}

void byte_buffer_put_bin_header(byte_buffer_t *buffer, size_t size) {
    if (size <= 0xff) {
        put_sized(buffer, 0xc4, size, 1);
    } else if (size <= 0xffff) {
        put_sized(buffer, 0xc5, size, 2);
    } else if (size <= 0xffffffff) {
        put_sized(buffer, 0xc6, size, 4);
    } else {
        fail(buffer, BUFFER_FULL);
    }
}

void byte_buffer_put_array_header(byte_buffer_t *buffer, uint64_t count) {
    if (count < 16) {
        put_byte(buffer, (unsigned char)(0x90 | count));
    } else if (count <= 0xffff) {
        put_sized(buffer, 0xdc, count, 2);
    } else if (count <= 0xffffffff) {
        put_sized(buffer, 0xdd, count, 4);
    } else {
        fail(buffer, BUFFER_FULL);
    }
}

size_t byte_buffer_open_array(byte_buffer_t *buffer) {
    size_t position = buffer->size;
    put_sized(buffer, 0xdd, 0, 4);
    return position;
}

void byte_buffer_close_array(byte_buffer_t *buffer, size_t position, uint32_t count) {
    if (buffer->status != BUFFER_OK) return;
    for (int i = 0; i < 4; i++) buffer->bytes[position + 1 + (size_t)i] = (unsigned char)(count >> (24 - 8 * i));
}
