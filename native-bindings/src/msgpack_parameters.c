/** msgpack_parameters: see the header.
 *  Owns: as there.   Thread: as there.
 *  Holds: every byte is taken through take(), which knows where the bytes end. The source may be shared memory that others
 *  write: each length is read once, and text is checked after it was copied. */
#include "msgpack_parameters.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "number_text.h"

#define PARAMETER_COUNT_MAX 65535 /* the protocol counts them in 16 bits */
#define KEPT_BYTES_MAX (64 * 1024)
#define KEPT_COUNT_MAX 1024
#define TEXT_BYTES_MIN 256
#define COUNT_MIN 8

typedef struct source {
    const unsigned char *at;
    size_t left;
} source_t;

static bool parameters_reserve(msgpack_parameters_t *parameters, size_t count, size_t source_size);
static bool array_count(source_t *source, uint64_t *count);
static bool parameter_read(msgpack_parameters_t *parameters, source_t *source);
static bool put_number(msgpack_parameters_t *parameters, uint64_t magnitude, bool is_negative);
static bool put_double(msgpack_parameters_t *parameters, double value);
static bool put_text(msgpack_parameters_t *parameters, source_t *source, uint64_t size);
static bool put_binary(msgpack_parameters_t *parameters, source_t *source, uint64_t size);

msgpack_read_t msgpack_parameters_read(msgpack_parameters_t *parameters, const unsigned char *bytes, size_t size) {
    source_t source = {bytes, size};
    uint64_t count = 0;
    parameters->count = 0;
    parameters->text_size = 0;
    /* Each value has a byte at least, so a count beyond them is a lie that must not cost memory. */
    if (!array_count(&source, &count) || count > PARAMETER_COUNT_MAX || count > source.left) return MSGPACK_NOT_PLAIN;
    if (!parameters_reserve(parameters, (size_t)count, source.left)) return MSGPACK_NO_MEMORY;
    for (uint64_t i = 0; i < count; i++) {
        if (!parameter_read(parameters, &source)) return MSGPACK_NOT_PLAIN;
        parameters->count++;
    }
    return source.left == 0 ? MSGPACK_READ : MSGPACK_NOT_PLAIN;
}

void msgpack_parameters_trim(msgpack_parameters_t *parameters) {
    if (parameters->text_capacity > KEPT_BYTES_MAX || parameters->count_capacity > KEPT_COUNT_MAX) {
        msgpack_parameters_free(parameters);
    }
}

void msgpack_parameters_free(msgpack_parameters_t *parameters) {
    free(parameters->values);
    free(parameters->lengths);
    free(parameters->formats);
    free(parameters->text);
    memset(parameters, 0, sizeof *parameters);
}

/* All the text there can be: a string is as long as in the source and gets a NUL, anything else is a short number. */
static bool parameters_reserve(msgpack_parameters_t *parameters, size_t count, size_t source_size) {
    size_t text_size = source_size + count * NUMBER_TEXT_BYTES_MAX;
    if (parameters->count_capacity < count || parameters->values == NULL) {
        size_t capacity = count < COUNT_MIN ? COUNT_MIN : count;
        msgpack_parameters_free(parameters);
        parameters->values = malloc(capacity * sizeof *parameters->values);
        parameters->lengths = malloc(capacity * sizeof *parameters->lengths);
        parameters->formats = malloc(capacity * sizeof *parameters->formats);
        if (parameters->values == NULL || parameters->lengths == NULL || parameters->formats == NULL) {
            msgpack_parameters_free(parameters);
            return false;
        }
        parameters->count_capacity = capacity;
    }
    if (parameters->text_capacity < text_size) {
        free(parameters->text);
        parameters->text_capacity = text_size < TEXT_BYTES_MIN ? TEXT_BYTES_MIN : text_size;
        parameters->text = malloc(parameters->text_capacity);
        if (parameters->text == NULL) {
            msgpack_parameters_free(parameters);
            return false;
        }
    }
    return true;
}

/* So many bytes as a number, the highest first; false when there are less. */
static bool take(source_t *source, size_t size, uint64_t *value) {
    if (source->left < size) return false;
    *value = 0;
    for (size_t i = 0; i < size; i++) *value = *value << 8 | source->at[i];
    source->at += size;
    source->left -= size;
    return true;
}

static bool array_count(source_t *source, uint64_t *count) {
    uint64_t head = 0;
    if (!take(source, 1, &head)) return false;
    if ((head & 0xf0) == 0x90) {
        *count = head & 0x0f;
        return true;
    }
    if (head == 0xdc) return take(source, 2, count);
    return head == 0xdd && take(source, 4, count);
}

static bool put_null(msgpack_parameters_t *parameters) {
    parameters->values[parameters->count] = NULL;
    parameters->lengths[parameters->count] = 0;
    parameters->formats[parameters->count] = 0;
    return true;
}

/* `size` bytes were written at the end of the text, without the NUL. */
static bool put_written(msgpack_parameters_t *parameters, size_t size) {
    char *text = parameters->text + parameters->text_size;
    text[size] = '\0';
    parameters->text_size += size + 1;
    parameters->values[parameters->count] = text;
    parameters->lengths[parameters->count] = 0; /* libpq measures text itself */
    parameters->formats[parameters->count] = 0;
    return true;
}

static bool put_literal(msgpack_parameters_t *parameters, const char *literal) {
    size_t size = strlen(literal);
    memcpy(parameters->text + parameters->text_size, literal, size);
    return put_written(parameters, size);
}

static bool put_signed(msgpack_parameters_t *parameters, int64_t value) {
    return put_number(parameters, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, value < 0);
}

static bool parameter_read(msgpack_parameters_t *parameters, source_t *source) {
    uint64_t head = 0;
    uint64_t value = 0;
    if (!take(source, 1, &head)) return false;
    if (head < 0x80) return put_number(parameters, head, false);
    if (head >= 0xe0) return put_number(parameters, 0x100 - head, true);
    if ((head & 0xe0) == 0xa0) return put_text(parameters, source, head & 0x1f);
    switch (head) {
        case 0xc0: return put_null(parameters);
        case 0xc2: return put_literal(parameters, "false");
        case 0xc3: return put_literal(parameters, "true");
        case 0xc4: return take(source, 1, &value) && put_binary(parameters, source, value);
        case 0xc5: return take(source, 2, &value) && put_binary(parameters, source, value);
        case 0xc6: return take(source, 4, &value) && put_binary(parameters, source, value);
        case 0xca: {
            float single = 0;
            if (!take(source, 4, &value)) return false;
            uint32_t bits = (uint32_t)value;
            memcpy(&single, &bits, sizeof single);
            return put_double(parameters, single);
        }
        case 0xcb: {
            double number = 0;
            if (!take(source, 8, &value)) return false;
            memcpy(&number, &value, sizeof number);
            return put_double(parameters, number);
        }
        case 0xcc: return take(source, 1, &value) && put_number(parameters, value, false);
        case 0xcd: return take(source, 2, &value) && put_number(parameters, value, false);
        case 0xce: return take(source, 4, &value) && put_number(parameters, value, false);
        case 0xcf: return take(source, 8, &value) && put_number(parameters, value, false);
        case 0xd0: return take(source, 1, &value) && put_signed(parameters, (int8_t)value);
        case 0xd1: return take(source, 2, &value) && put_signed(parameters, (int16_t)value);
        case 0xd2: return take(source, 4, &value) && put_signed(parameters, (int32_t)value);
        case 0xd3: return take(source, 8, &value) && put_signed(parameters, (int64_t)value);
        case 0xd9: return take(source, 1, &value) && put_text(parameters, source, value);
        case 0xda: return take(source, 2, &value) && put_text(parameters, source, value);
        case 0xdb: return take(source, 4, &value) && put_text(parameters, source, value);
        default: return false; /* an array, a map, an extension, or 0xc1 which is nothing */
    }
}

static bool put_number(msgpack_parameters_t *parameters, uint64_t magnitude, bool is_negative) {
    char digits[NUMBER_TEXT_BYTES_MAX];
    char *at = digits + sizeof digits;
    do {
        *--at = (char)('0' + magnitude % 10);
        magnitude /= 10;
    } while (magnitude > 0);
    if (is_negative) *--at = '-';
    size_t size = (size_t)(digits + sizeof digits - at);
    memcpy(parameters->text + parameters->text_size, at, size);
    return put_written(parameters, size);
}

static bool put_double(msgpack_parameters_t *parameters, double value) {
    size_t size = number_text(value, parameters->text + parameters->text_size);
    return size > 0 && put_written(parameters, size);
}

static bool put_text(msgpack_parameters_t *parameters, source_t *source, uint64_t size) {
    if (size > source->left || size > INT_MAX) return false;
    char *text = parameters->text + parameters->text_size;
    memcpy(text, source->at, (size_t)size);
    source->at += size;
    source->left -= (size_t)size;
    return memchr(text, '\0', (size_t)size) == NULL && put_written(parameters, (size_t)size);
}

static bool put_binary(msgpack_parameters_t *parameters, source_t *source, uint64_t size) {
    if (size > source->left || size > INT_MAX) return false;
    /* An empty one has an address too, or libpq would take it for NULL. */
    parameters->values[parameters->count] = size == 0 ? "" : (const char *)source->at;
    parameters->lengths[parameters->count] = (int)size;
    parameters->formats[parameters->count] = 1;
    source->at += size;
    source->left -= (size_t)size;
    return true;
}
