/** value_text: Postgres' text form of one value as msgpack.
 *  Owns: nothing.   Thread: any.   Holds: each parser takes all of its text or says no; then the text goes as a str. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "timestamp_text.h"
#include "value_encode.h"

#define FLOAT_TEXT_BYTES_MAX 63
#define EXACT_FLOAT_INTEGER_MAX 9007199254740992 /* 2^53 */
#define EXACT_POWER_OF_TEN_MAX 22

static bool put_integer(byte_buffer_t *out, const char *text, size_t size);
static bool put_float(byte_buffer_t *out, const char *text, size_t size);
static bool put_bytea(byte_buffer_t *out, const char *text, size_t size);
static bool put_bytea_hex(byte_buffer_t *out, const unsigned char *digits, size_t count);
static bool put_bytea_escape(byte_buffer_t *out, const char *text, size_t size);
static bool put_timestamp(byte_buffer_t *out, int kind, const char *text, size_t size);

void value_put_text(byte_buffer_t *out, int kind, const char *text, size_t size) {
    bool is_put = false;
    switch (kind) {
        case KIND_BOOL:
            is_put = size == 1 && (*text == 't' || *text == 'f');
            if (is_put) byte_buffer_put_bool(out, *text == 't');
            break;
        case KIND_INT:
        case KIND_INT8: is_put = put_integer(out, text, size); break;
        case KIND_FLOAT: is_put = put_float(out, text, size); break;
        case KIND_BYTEA: is_put = put_bytea(out, text, size); break;
        case KIND_TIMESTAMP:
        case KIND_TIMESTAMPTZ: is_put = put_timestamp(out, kind, text, size); break;
        default: break; /* text, and json, which the reader parses */
    }
    if (!is_put) byte_buffer_put_str(out, text, size);
}

static bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

static bool is_word(const char *text, size_t size, const char *word) {
    return size == strlen(word) && memcmp(text, word, size) == 0;
}

static bool put_integer(byte_buffer_t *out, const char *text, size_t size) {
    const char *end = text + size;
    bool is_negative = size > 0 && *text == '-';
    uint64_t value = 0;
    if (is_negative) text++;
    if (text == end || end - text > 19) return false; /* 19 digits always fit 64 bits */
    for (; text < end; text++) {
        if (!is_digit(*text)) return false;
        value = value * 10 + (uint64_t)(*text - '0');
    }
    if (value > (uint64_t)INT64_MAX + (is_negative ? 1 : 0)) return false;
    byte_buffer_put_int(out, (int64_t)(is_negative ? 0 - value : value));
    return true;
}

/** A decimal number taken apart: mantissa × 10^exponent, exact unless digits had to be left out. */
typedef struct decimal {
    uint64_t mantissa;
    int exponent;
    bool is_negative;
    bool is_exact;
} decimal_t;

static bool decimal_read(const char *text, size_t size, decimal_t *decimal) {
    const char *end = text + size;
    int digit_count = 0;
    memset(decimal, 0, sizeof *decimal);
    decimal->is_exact = true;
    if (text < end && (*text == '-' || *text == '+')) decimal->is_negative = *text++ == '-';
    bool is_fraction = false;
    for (; text < end && (is_digit(*text) || (*text == '.' && !is_fraction)); text++) {
        if (*text == '.') {
            is_fraction = true;
            continue;
        }
        digit_count++;
        if (decimal->mantissa >= EXACT_FLOAT_INTEGER_MAX) {
            decimal->is_exact = false; /* strtod will read it */
            continue;
        }
        decimal->mantissa = decimal->mantissa * 10 + (uint64_t)(*text - '0');
        if (is_fraction) decimal->exponent--;
    }
    if (digit_count == 0) return false;
    if (text == end) return true;
    if (*text != 'e' && *text != 'E') return false;
    text++;
    bool is_small = text < end && *text == '-';
    if (text < end && (*text == '-' || *text == '+')) text++;
    if (text == end || end - text > 4) return false;
    int exponent = 0;
    for (; text < end; text++) {
        if (!is_digit(*text)) return false;
        exponent = exponent * 10 + (*text - '0');
    }
    decimal->exponent += is_small ? -exponent : exponent;
    return true;
}

static bool put_float(byte_buffer_t *out, const char *text, size_t size) {
    static const double powers_of_ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                           1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    decimal_t decimal;
    double value;
    if (size > FLOAT_TEXT_BYTES_MAX) return false;
    if (!decimal_read(text, size, &decimal)) {
        if (is_word(text, size, "NaN")) value = NAN;
        else if (is_word(text, size, "Infinity")) value = INFINITY;
        else if (is_word(text, size, "-Infinity")) value = -INFINITY;
        else return false;
    } else if (decimal.is_exact && decimal.mantissa <= EXACT_FLOAT_INTEGER_MAX &&
               abs(decimal.exponent) <= EXACT_POWER_OF_TEN_MAX) {
        /* Both numbers are exact, so the one rounding of the division or product is the right one. */
        value = (double)decimal.mantissa;
        if (decimal.exponent < 0) value /= powers_of_ten[-decimal.exponent];
        else value *= powers_of_ten[decimal.exponent];
        if (decimal.is_negative) value = -value;
    } else {
        char copy[FLOAT_TEXT_BYTES_MAX + 1];
        char *end;
        memcpy(copy, text, size);
        copy[size] = '\0';
        value = strtod(copy, &end);
        if (end != copy + size) return false; /* a locale with another decimal point */
    }
    byte_buffer_put_float64(out, value);
    return true;
}

/* The value of a hexadecimal digit, 0xff for other bytes. */
static unsigned char nibble_of(unsigned char byte) {
    if (byte >= '0' && byte <= '9') return (unsigned char)(byte - '0');
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? (unsigned char)(byte - 'a' + 10) : 0xff;
}

static bool put_bytea(byte_buffer_t *out, const char *text, size_t size) {
    if (size >= 2 && text[0] == '\\' && text[1] == 'x')
        return size % 2 == 0 && put_bytea_hex(out, (const unsigned char *)text + 2, size / 2 - 1);
    return put_bytea_escape(out, text, size);
}

static bool put_bytea_hex(byte_buffer_t *out, const unsigned char *digits, size_t count) {
    size_t start = out->size;
    byte_buffer_put_bin_header(out, count);
    unsigned char *bytes = byte_buffer_reserve(out, count);
    if (bytes == NULL) return true; /* it does not fit, and neither would the text */
    unsigned char seen = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned char high = nibble_of(digits[2 * i]);
        unsigned char low = nibble_of(digits[2 * i + 1]);
        seen |= high | low;
        bytes[i] = (unsigned char)(high << 4 | low);
    }
    if (seen > 15) {
        byte_buffer_truncate(out, start);
        return false;
    }
    out->size += count;
    return true;
}

static bool is_octal(char byte, char highest) { return byte >= '0' && byte <= highest; }

/* One byte of the escape form, `\\`, `\ooo` or itself; how many bytes of text that was, 0 when it is none of them. */
static size_t escape_read(const char *text, size_t size, unsigned char *byte) {
    *byte = (unsigned char)*text;
    if (*text != '\\') return 1;
    if (size >= 2 && text[1] == '\\') return 2;
    if (size < 4 || !is_octal(text[1], '3') || !is_octal(text[2], '7') || !is_octal(text[3], '7')) return 0;
    *byte = (unsigned char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
    return 4;
}

/* bytea_output = escape. The connection asks for hex, a function may have set it otherwise. */
static bool put_bytea_escape(byte_buffer_t *out, const char *text, size_t size) {
    unsigned char byte;
    size_t count = 0;
    for (size_t i = 0; i < size; count++) {
        size_t taken = escape_read(text + i, size - i, &byte);
        if (taken == 0) return false;
        i += taken;
    }
    byte_buffer_put_bin_header(out, count);
    unsigned char *bytes = byte_buffer_reserve(out, count);
    if (bytes == NULL) return true;
    for (size_t i = 0; i < size; bytes++) i += escape_read(text + i, size - i, bytes);
    out->size += count;
    return true;
}

static bool put_timestamp(byte_buffer_t *out, int kind, const char *text, size_t size) {
    int64_t ms;
    if (timestamp_read(text, size, kind == KIND_TIMESTAMPTZ, &ms)) {
        int64_t ms_max = kind == KIND_TIMESTAMPTZ ? DATE_MS_MAX : LOCAL_DATE_MS_MAX;
        if (ms > ms_max || ms < -ms_max) return false;
        byte_buffer_put_float64(out, (double)ms);
    } else if (is_word(text, size, "infinity")) {
        byte_buffer_put_float64(out, INFINITY);
    } else if (is_word(text, size, "-infinity")) {
        byte_buffer_put_float64(out, -INFINITY);
    } else {
        return false;
    }
    return true;
}
