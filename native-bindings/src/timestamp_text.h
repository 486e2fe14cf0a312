/** timestamp_text: ISO timestamps, as Postgres writes them, as milliseconds since 1970. Plain C.
 *  Owns: nothing.   Thread: any.   Holds: the calendar is Gregorian throughout, as Postgres' and JavaScript's. */
#ifndef HEARTH_TIMESTAMP_TEXT_H
#define HEARTH_TIMESTAMP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** 2016-01-11 17:30:00[.123456][ BC], with `has_offset` 2016-01-11 17:30:00[.123456]+01[:30[:15]][ BC]: false for anything
 *  else. Without an offset the wall clock is taken for UTC's. */
bool timestamp_read(const char *text, size_t size, bool has_offset, int64_t *ms);

/** Days since 1970-01-01. */
int64_t days_from_civil(int64_t year, int month, int day);
void civil_from_days(int64_t days, int64_t *year, int *month, int *day);

#endif
