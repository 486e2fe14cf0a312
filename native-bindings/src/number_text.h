/** number_text: a double as JavaScript's String() writes it, without an exponent. Plain C.
 *  Owns:   nothing.
 *  Thread: any; the C library's locale does not matter.
 *  Holds:  where it succeeds the text is String(value), character by character.
 *  Source: ECMA-262, Number::toString. */
#ifndef HEARTH_NUMBER_TEXT_H
#define HEARTH_NUMBER_TEXT_H

#include <stddef.h>

#define NUMBER_TEXT_BYTES_MAX 32

/** Writes NUL-terminated text and gives its length. 0 for what only JavaScript is asked to write: whole numbers from 2^53
 *  on, others from 1e15 on or closer to zero than 1e-6. */
size_t number_text(double value, char text[NUMBER_TEXT_BYTES_MAX]);

#endif
