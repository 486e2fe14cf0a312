/** timestamp_text: ISO timestamps, as Postgres writes them, as milliseconds since 1970.
 *  Owns: nothing.   Thread: any.
 *  Holds: what is finer than a millisecond is cut off within its second, so it goes towards the past before 1970 too. */
#include "timestamp_text.h"

#include <string.h>

#define SECOND_MS 1000
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * (int64_t)HOUR_MS)
#define YEAR_DIGITS_MAX 6

typedef struct cursor {
    const char *at;
    const char *end;
} cursor_t;

static bool take(cursor_t *cursor, char byte);
static bool take_number(cursor_t *cursor, int digits, int low, int high, int *value);
static bool take_year(cursor_t *cursor, int *year);
static bool take_fraction(cursor_t *cursor, int *ms);
static bool take_offset(cursor_t *cursor, int64_t *offset_ms);

bool timestamp_read(const char *text, size_t size, bool has_offset, int64_t *ms) {
    cursor_t cursor = {text, text + size};
    int year, month, day, hour, minute, second;
    int fraction_ms = 0;
    int64_t offset_ms = 0;
    if (!take_year(&cursor, &year) || !take(&cursor, '-') || !take_number(&cursor, 2, 1, 12, &month) ||
        !take(&cursor, '-') || !take_number(&cursor, 2, 1, 31, &day) || !take(&cursor, ' ') ||
        !take_number(&cursor, 2, 0, 24, &hour) || !take(&cursor, ':') || !take_number(&cursor, 2, 0, 59, &minute) ||
        !take(&cursor, ':') || !take_number(&cursor, 2, 0, 60, &second))
        return false;
    if (take(&cursor, '.') && !take_fraction(&cursor, &fraction_ms)) return false;
    if (has_offset && !take_offset(&cursor, &offset_ms)) return false;
    if (cursor.end - cursor.at == 3 && memcmp(cursor.at, " BC", 3) == 0) {
        year = 1 - year; /* there was no year 0: 1 BC is what ISO calls 0 */
        cursor.at += 3;
    }
    if (cursor.at != cursor.end) return false;
    *ms = days_from_civil(year, month, day) * DAY_MS + hour * (int64_t)HOUR_MS + minute * MINUTE_MS +
          second * SECOND_MS + fraction_ms - offset_ms;
    return true;
}

/* Years begin in March, so that the day of February 29 is the last; 400 of them have 146 097 days.
 * https://howardhinnant.github.io/date_algorithms.html#days_from_civil */
int64_t days_from_civil(int64_t year, int month, int day) {
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

void civil_from_days(int64_t days, int64_t *year, int *month, int *day) {
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted = (5 * day_of_year + 2) / 153;
    *day = (int)(day_of_year - (153 * shifted + 2) / 5 + 1);
    *month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);
    *year = year_of_era + era * 400 + (*month <= 2);
}

static bool take(cursor_t *cursor, char byte) {
    if (cursor->at == cursor->end || *cursor->at != byte) return false;
    cursor->at++;
    return true;
}

static bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

static bool take_number(cursor_t *cursor, int digits, int low, int high, int *value) {
    int number = 0;
    if (cursor->end - cursor->at < digits) return false;
    for (int i = 0; i < digits; i++, cursor->at++) {
        if (!is_digit(*cursor->at)) return false;
        number = number * 10 + (*cursor->at - '0');
    }
    *value = number;
    return number >= low && number <= high;
}

static bool take_year(cursor_t *cursor, int *year) {
    int digits = 0;
    while (digits < cursor->end - cursor->at && is_digit(cursor->at[digits])) {
        if (++digits > YEAR_DIGITS_MAX) return false;
    }
    return digits > 0 && take_number(cursor, digits, 1, 999999, year);
}

static bool take_fraction(cursor_t *cursor, int *ms) {
    int number = 0;
    int digits = 0;
    for (; cursor->at < cursor->end && is_digit(*cursor->at); cursor->at++, digits++) {
        if (digits < 3) number = number * 10 + (*cursor->at - '0');
    }
    if (digits == 0) return false;
    for (; digits < 3; digits++) number *= 10;
    *ms = number;
    return true;
}

/* +HH[:MM[:SS]] */
static bool take_offset(cursor_t *cursor, int64_t *offset_ms) {
    int hour;
    int minute = 0;
    int second = 0;
    bool is_west = take(cursor, '-');
    if (!is_west && !take(cursor, '+')) return false;
    if (!take_number(cursor, 2, 0, 99, &hour)) return false;
    if (take(cursor, ':')) {
        if (!take_number(cursor, 2, 0, 59, &minute)) return false;
        if (take(cursor, ':') && !take_number(cursor, 2, 0, 59, &second)) return false;
    }
    *offset_ms = hour * (int64_t)HOUR_MS + minute * MINUTE_MS + second * SECOND_MS;
    if (is_west) *offset_ms = -*offset_ms;
    return true;
}
