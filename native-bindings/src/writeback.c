/** writeback: see the header.
 *  Owns: nothing.   Thread: any.   Holds: as there. */
#define _GNU_SOURCE
#include "writeback.h"

#include <errno.h>
#include <fcntl.h>

int writeback_start(int descriptor, int64_t at, int64_t bytes) {
#ifdef SYNC_FILE_RANGE_WRITE
    return sync_file_range(descriptor, at, bytes, SYNC_FILE_RANGE_WRITE) == 0 ? 0 : errno;
#else
    (void)descriptor;
    (void)at;
    (void)bytes;
    return ENOSYS;
#endif
}
