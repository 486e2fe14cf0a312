/** writeback: asks the kernel to begin writing a part of a file to its disk, and does not wait for it. Plain C.
 *  Owns:   nothing.
 *  Thread: any.
 *  Holds:  makes nothing durable by itself: what it leaves to do is still done by fsync, which then has less to wait for. */
#ifndef HEARTH_WRITEBACK_H
#define HEARTH_WRITEBACK_H

#include <stdint.h>

/** 0, or the errno; ENOSYS where the system has no such call. */
int writeback_start(int descriptor, int64_t at, int64_t bytes);

#endif
