/** allocator: the settings of the C library's malloc. Plain C.
 *  Owns:   nothing; the settings are the process's.
 *  Thread: any; tuning is meant for the start, before other threads allocate.
 *  Holds:  where the C library has no such setting, calls do nothing and return false. */
#ifndef HEARTH_ALLOCATOR_H
#define HEARTH_ALLOCATOR_H

#include <stdbool.h>

/** Gives free pages back to the system; true when some were. */
bool allocator_trim(void);
/** Each setting is left alone when it is negative. False when one was refused. */
bool allocator_tune(int arenas_max, int trim_threshold_bytes, int top_pad_bytes);

#endif
