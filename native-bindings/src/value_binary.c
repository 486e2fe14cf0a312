/** value_binary: Postgres' binary form of one value as msgpack, to the byte what its text form would have given.
 *  Owns: nothing.   Thread: any.
 *  Holds: numbers of the binary form stand with their highest byte first. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "timestamp_text.h"
#include "value_encode.h"

#define POSTGRES_EPOCH_MS 946684800000 /* 2000-01-01 */
#define DAY_MS 86400000
#define UUID_BYTES 16
#define UUID_TEXT_BYTES 36

static void put_uuid(byte_buffer_t *out, const unsigned char *bytes);
static void put_timestamp(byte_buffer_t *out, int kind, int64_t us);
static void put_timestamp_text(byte_buffer_t *out, int kind, int64_t us);
static double float4_as_text(float value);
static double shortest_decimal(double value, double low, double high, int digits);

static uint64_t number_of(const char *bytes, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) value = value << 8 | (unsigned char)bytes[i];
    return value;
}

void value_put_binary(byte_buffer_t *out, pg_binary_t form, int kind, const char *bytes, size_t size) {
    static const size_t sizes[] = {[BINARY_BOOL] = 1,   [BINARY_INT2] = 2,   [BINARY_INT4] = 4,
                                   [BINARY_INT8] = 8,   [BINARY_OID] = 4,    [BINARY_FLOAT4] = 4,
                                   [BINARY_FLOAT8] = 8, [BINARY_UUID] = 16,  [BINARY_TIMESTAMP] = 8};
    uint64_t bits = 0;
    if ((size_t)form < sizeof sizes / sizeof *sizes && sizes[form] != 0) {
        if (size != sizes[form]) {
            byte_buffer_put_str(out, bytes, size);
            return;
        }
        if (size <= 8) bits = number_of(bytes, size);
    }
    switch (form) {
        case BINARY_BYTES: byte_buffer_put_str(out, bytes, size); break;
        case BINARY_BOOL: byte_buffer_put_bool(out, bits != 0); break;
        case BINARY_INT2: byte_buffer_put_int(out, (int16_t)bits); break;
        case BINARY_INT4: byte_buffer_put_int(out, (int32_t)bits); break;
        case BINARY_INT8: byte_buffer_put_int(out, (int64_t)bits); break;
        case BINARY_OID: byte_buffer_put_uint(out, bits); break;
        case BINARY_FLOAT4: {
            uint32_t word = (uint32_t)bits;
            float value;
            memcpy(&value, &word, sizeof value);
            byte_buffer_put_float64(out, float4_as_text(value));
            break;
        }
        case BINARY_FLOAT8: {
            double value;
            memcpy(&value, &bits, sizeof value);
            byte_buffer_put_float64(out, isnan(value) ? NAN : value);
            break;
        }
        case BINARY_JSONB: /* a version before the text, which is 1 */
            if (size > 0 && *bytes == 1) byte_buffer_put_str(out, bytes + 1, size - 1);
            else byte_buffer_put_str(out, bytes, size);
            break;
        case BINARY_UUID: put_uuid(out, (const unsigned char *)bytes); break;
        case BINARY_TIMESTAMP: put_timestamp(out, kind, (int64_t)bits); break;
        case BINARY_BYTEA:
        case BINARY_NONE: byte_buffer_put_bin(out, bytes, size); break;
    }
}

static void put_uuid(byte_buffer_t *out, const unsigned char *bytes) {
    static const char digits[] = "0123456789abcdef";
    char text[UUID_TEXT_BYTES];
    for (size_t i = 0, at = 0; i < UUID_BYTES; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) text[at++] = '-';
        text[at++] = digits[bytes[i] >> 4];
        text[at++] = digits[bytes[i] & 15];
    }
    byte_buffer_put_str(out, text, sizeof text);
}

/* Microseconds since 2000; the two ends of the range stand for infinity. */
static void put_timestamp(byte_buffer_t *out, int kind, int64_t us) {
    if (us == INT64_MAX || us == INT64_MIN) {
        byte_buffer_put_float64(out, us == INT64_MAX ? INFINITY : -INFINITY);
        return;
    }
    int64_t ms = us / 1000 - (us % 1000 < 0) + POSTGRES_EPOCH_MS;
    int64_t ms_max = kind == KIND_TIMESTAMPTZ ? DATE_MS_MAX : LOCAL_DATE_MS_MAX;
    if (ms > ms_max || ms < -ms_max) put_timestamp_text(out, kind, us);
    else byte_buffer_put_float64(out, (double)ms);
}

/* As the server would write it, in UTC: what no Date can hold, from the year 275760 on. */
static void put_timestamp_text(byte_buffer_t *out, int kind, int64_t us) {
    char text[80];
    int64_t ms = us / 1000 - (us % 1000 < 0);
    int64_t fraction_us = us - ms * 1000;
    ms += POSTGRES_EPOCH_MS;
    int64_t days = ms / DAY_MS - (ms % DAY_MS < 0);
    int64_t time_ms = ms - days * DAY_MS;
    int64_t year;
    int month, day;
    civil_from_days(days, &year, &month, &day);
    int size = snprintf(text, sizeof text, "%04" PRId64 "-%02d-%02d %02d:%02d:%02d", year > 0 ? year : 1 - year, month,
                        day, (int)(time_ms / 3600000), (int)(time_ms / 60000 % 60), (int)(time_ms / 1000 % 60));
    int64_t fraction = time_ms % 1000 * 1000 + fraction_us;
    if (fraction != 0) {
        size += snprintf(text + size, sizeof text - (size_t)size, ".%06d", (int)fraction);
        while (text[size - 1] == '0') size--;
    }
    size += snprintf(text + size, sizeof text - (size_t)size, "%s%s", kind == KIND_TIMESTAMPTZ ? "+00" : "",
                     year > 0 ? "" : " BC");
    byte_buffer_put_str(out, text, (size_t)size);
}

/* The number that the text of a float4 reads as: of the decimals nearer to it than to any other float4 the shortest, and of
 * those the nearest. (`0.1` is 0.1, where the float itself is 0.100000001490116….) */
static double float4_as_text(float value) {
    float size = fabsf(value);
    if (isnan(value)) return NAN;
    if (isinf(value) || (size < 16777216 && size == truncf(size))) return (double)value;
    /* Half-way to the neighbours, exactly: a double has the bits for it. Below a power of two they are closer. */
    double below = (double)nextafterf(size, 0);
    double above = size == FLT_MAX ? 2 * (double)size - below : (double)nextafterf(size, INFINITY);
    double low = (below + (double)size) / 2;
    double high = ((double)size + above) / 2;
    /* Six digits are told apart by any float4 that is not denormal. */
    for (int digits = size < FLT_MIN ? 1 : FLT_DIG; digits <= FLT_DECIMAL_DIG; digits++) {
        double found = shortest_decimal((double)size, low, high, digits);
        if (found > 0) return value < 0 ? -found : found;
    }
    return (double)value;
}

/* The nearest decimal of so many digits strictly between `low` and `high`; 0 when there is none. */
static double shortest_decimal(double value, double low, double high, int digits) {
    char text[32];
    snprintf(text, sizeof text, "%.*e", digits - 1, value);
    double nearest = strtod(text, NULL);
    if (nearest > low && nearest < high) return nearest;
    /* Below a power of two the gap is half as wide: the nearest may be beyond it, while the next one above is within. */
    long mantissa = 0;
    const char *at = text;
    for (; *at != 'e'; at++) {
        if (*at >= '0' && *at <= '9') mantissa = mantissa * 10 + (*at - '0');
    }
    snprintf(text, sizeof text, "%lde%d", mantissa + 1, atoi(at + 1) - (digits - 1));
    double above = strtod(text, NULL);
    return above > low && above < high ? above : 0;
}
