/** number_text: see the header.
 *  Owns: nothing.   Thread: any.
 *  Holds: the fewest of 15, 16 or 17 digits that read back as the same number, which is what JavaScript's rule comes to in
 *  this range: the powers of two, where its rule is subtler, have less than 15 digits here. */
#include "number_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXACT_INTEGER_END 9007199254740992.0 /* 2^53 */
#define DIGIT_COUNT_MAX 17

typedef struct decimal {
    char digits[DIGIT_COUNT_MAX + 1];
    int count;    /* of digits, without zeros at the end */
    int exponent; /* of the first digit */
} decimal_t;

static void decimal_shortest(double value, decimal_t *decimal);
static void decimal_read(const char *printed, decimal_t *decimal);

size_t number_text(double value, char text[NUMBER_TEXT_BYTES_MAX]) {
    if (isnan(value)) return (size_t)snprintf(text, NUMBER_TEXT_BYTES_MAX, "NaN");
    if (isinf(value)) return (size_t)snprintf(text, NUMBER_TEXT_BYTES_MAX, value < 0 ? "-Infinity" : "Infinity");
    double size = fabs(value);
    if (size < EXACT_INTEGER_END && trunc(value) == value) {
        return (size_t)snprintf(text, NUMBER_TEXT_BYTES_MAX, "%" PRId64, (int64_t)value);
    }
    if (!(size >= 1e-6 && size < 1e15)) return 0;
    decimal_t decimal;
    decimal_shortest(size, &decimal);
    char *at = text;
    if (value < 0) *at++ = '-';
    if (decimal.exponent < 0) {
        *at++ = '0';
        *at++ = '.';
        for (int i = -1; i > decimal.exponent; i--) *at++ = '0';
        memcpy(at, decimal.digits, (size_t)decimal.count);
        at += decimal.count;
    } else { /* not whole, so there are digits on both sides of the point */
        int whole = decimal.exponent + 1;
        memcpy(at, decimal.digits, (size_t)whole);
        at += whole;
        *at++ = '.';
        memcpy(at, decimal.digits + whole, (size_t)(decimal.count - whole));
        at += decimal.count - whole;
    }
    *at = '\0';
    return (size_t)(at - text);
}

static void decimal_shortest(double value, decimal_t *decimal) {
    char printed[NUMBER_TEXT_BYTES_MAX];
    for (int count = 15; count <= DIGIT_COUNT_MAX; count++) {
        snprintf(printed, sizeof printed, "%.*e", count - 1, value);
        if (strtod(printed, NULL) == value) break;
    }
    decimal_read(printed, decimal);
}

/* d.ddde±xx; whatever stands for the point is skipped. */
static void decimal_read(const char *printed, decimal_t *decimal) {
    decimal->count = 0;
    for (; *printed != 'e' && *printed != '\0'; printed++) {
        bool is_digit = *printed >= '0' && *printed <= '9';
        if (is_digit && decimal->count < DIGIT_COUNT_MAX) decimal->digits[decimal->count++] = *printed;
    }
    decimal->exponent = *printed == 'e' ? atoi(printed + 1) : 0;
    while (decimal->count > 1 && decimal->digits[decimal->count - 1] == '0') decimal->count--;
}
