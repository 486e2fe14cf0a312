/** owner_guard: see the header.
 *  Owns: a descriptor, within one call.   Thread: the holder's.   Holds: as there. */
#define _GNU_SOURCE
#include "owner_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int page_map(const char *path, size_t at, owner_guard_t *guard);
static int lock_take(pthread_mutex_t *lock);
static int word_find(owner_guard_t *guard);

_Static_assert(sizeof(pthread_mutex_t) <= OWNER_GUARD_BYTES, "the lock fits its room");

int owner_guard_hold(const char *path, size_t at, owner_guard_t *guard) {
    if (at % OWNER_GUARD_BYTES != 0) return EINVAL;
    int error = page_map(path, at, guard);
    if (error != 0) return error;
    error = lock_take(guard->lock);
    if (error != 0) {
        munmap(guard->page, guard->page_size);
        guard->page = NULL;
        return error;
    }
    error = word_find(guard);
    if (error != 0) owner_guard_release(guard);
    return error;
}

void owner_guard_release(owner_guard_t *guard) {
    if (guard->page == NULL) return;
    pthread_mutex_unlock(guard->lock);
    munmap(guard->page, guard->page_size);
    guard->page = NULL;
}

/* A mapping of the guard's own, so that it stands however long the file's other mappings live. */
static int page_map(const char *path, size_t at, owner_guard_t *guard) {
    size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    size_t page_at = at - at % page_size;
    struct stat status;
    int descriptor = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) return errno;
    int error = 0;
    void *page = MAP_FAILED;
    if (fstat(descriptor, &status) != 0) error = errno;
    else if (!S_ISREG(status.st_mode) || (size_t)status.st_size < at + OWNER_GUARD_BYTES) error = EINVAL;
    else page = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, (off_t)page_at);
    if (error == 0 && page == MAP_FAILED) error = errno;
    close(descriptor);
    if (error == 0) *guard = (owner_guard_t){page, page_size, (char *)page + (at - page_at), page_at};
    return error;
}

static int lock_take(pthread_mutex_t *lock) {
    pthread_mutexattr_t attributes;
    int error = pthread_mutexattr_init(&attributes);
    if (error != 0) return error;
    error = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (error == 0) error = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    if (error == 0) error = pthread_mutex_init(lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return error == 0 ? pthread_mutex_lock(lock) : error;
}

/* Which word of the lock the kernel will mark is the C library's affair: the kernel says, by the list it was given. On
 * entry word_at is where the page begins in the file. */
static int word_find(owner_guard_t *guard) {
    struct robust_list_head *list = NULL;
    size_t list_size = 0;
    if (syscall(SYS_get_robust_list, 0, &list, &list_size) != 0 || list == NULL) return ENOTSUP;
    /* The newest comes first; its lowest bit is a flag (FUTEX_PI). */
    uintptr_t entry = (uintptr_t)list->list.next & ~(uintptr_t)1;
    uintptr_t word = entry + (uintptr_t)list->futex_offset;
    uintptr_t lock = (uintptr_t)guard->lock;
    if (word < lock || word + sizeof(uint32_t) > lock + sizeof(pthread_mutex_t)) return ENOTSUP;
    if ((*(volatile uint32_t *)word & FUTEX_TID_MASK) != (uint32_t)syscall(SYS_gettid)) return ENOTSUP;
    guard->word_at += word - (uintptr_t)guard->page;
    return 0;
}
