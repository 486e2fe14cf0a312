/** allocator: see the header.
 *  Owns: nothing.   Thread: any.   Holds: as there. */
#include "allocator.h"

#include <stdlib.h>

#ifdef __GLIBC__
#include <malloc.h>

bool allocator_trim(void) { return malloc_trim(0) == 1; }

bool allocator_tune(int arenas_max, int trim_threshold_bytes, int top_pad_bytes) {
    bool is_ok = arenas_max < 0 || mallopt(M_ARENA_MAX, arenas_max) == 1;
    is_ok = (trim_threshold_bytes < 0 || mallopt(M_TRIM_THRESHOLD, trim_threshold_bytes) == 1) && is_ok;
    return (top_pad_bytes < 0 || mallopt(M_TOP_PAD, top_pad_bytes) == 1) && is_ok;
}
#else
bool allocator_trim(void) { return false; }

bool allocator_tune(int arenas_max, int trim_threshold_bytes, int top_pad_bytes) {
    return arenas_max < 0 && trim_threshold_bytes < 0 && top_pad_bytes < 0;
}
#endif
