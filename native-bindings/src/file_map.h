/** file_map: a file as shared memory. Plain C.
 *  Owns:   nothing after a call returns: the mapping is the caller's until file_map_close(), the descriptor is closed.
 *  Thread: any.
 *  Holds:  symbolic links are never followed; only regular files are mapped; descriptors do not survive exec. */
#ifndef HEARTH_FILE_MAP_H
#define HEARTH_FILE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/** For file_map_open(): whoever owns the file. */
#define FILE_MAP_ANY_OWNER ((uid_t)-1)

typedef struct file_map {
    void *bytes;
    size_t size;
} file_map_t;

/** Makes a new file of `size` bytes and maps it for reading and writing. Returns 0 or an errno; EEXIST when the path is
 *  taken. With `is_reserved` its blocks are allocated now: ENOSPC here instead of SIGBUS at some later write. */
int file_map_create(const char *path, size_t size, unsigned int mode, bool is_reserved, file_map_t *map);
/** Maps an existing file for reading, or for writing too. Returns 0 or an errno; EINVAL for an empty one or anything but a regular
 *  file, EPERM when somebody else than `owner` owns it. */
int file_map_open(const char *path, bool is_writable, uid_t owner, file_map_t *map);
void file_map_close(file_map_t *map);

#endif
