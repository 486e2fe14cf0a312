/** file_map: see the header.
 *  Owns: descriptors, within one call.   Thread: any.   Holds: a creation that fails leaves no file behind. */
#define _GNU_SOURCE
#include "file_map.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int descriptor_map(int descriptor, size_t size, int protection, file_map_t *map);

int file_map_create(const char *path, size_t size, unsigned int mode, bool is_reserved, file_map_t *map) {
    int descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (descriptor < 0) return errno;
    int error = 0;
    if (is_reserved) {
        do {
            error = posix_fallocate(descriptor, 0, (off_t)size);
        } while (error == EINTR);
    } else if (ftruncate(descriptor, (off_t)size) != 0) {
        error = errno;
    }
    if (error == 0) error = descriptor_map(descriptor, size, PROT_READ | PROT_WRITE, map);
    /* Last, and beside the umask: nobody may open the file by its mode before it has its size. */
    if (error == 0 && fchmod(descriptor, (mode_t)mode) != 0) {
        error = errno;
        file_map_close(map);
    }
    close(descriptor);
    if (error != 0) unlink(path);
    return error;
}

int file_map_open(const char *path, bool is_writable, uid_t owner, file_map_t *map) {
    /* O_NONBLOCK: opening a FIFO that somebody put there must not hang. It does nothing to a regular file. */
    int descriptor = open(path, (is_writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) return errno;
    struct stat status;
    int error = 0;
    if (fstat(descriptor, &status) != 0) {
        error = errno;
    } else if (!S_ISREG(status.st_mode) || status.st_size <= 0) {
        error = EINVAL;
    } else if (owner != FILE_MAP_ANY_OWNER && status.st_uid != owner) {
        error = EPERM;
    } else {
        int protection = is_writable ? PROT_READ | PROT_WRITE : PROT_READ;
        error = descriptor_map(descriptor, (size_t)status.st_size, protection, map);
    }
    close(descriptor);
    return error;
}

void file_map_close(file_map_t *map) {
    if (map->bytes != NULL) munmap(map->bytes, map->size);
    map->bytes = NULL;
}

static int descriptor_map(int descriptor, size_t size, int protection, file_map_t *map) {
    void *bytes = mmap(NULL, size, protection, MAP_SHARED, descriptor, 0);
    if (bytes == MAP_FAILED) return errno;
    *map = (file_map_t){bytes, size};
    return 0;
}
