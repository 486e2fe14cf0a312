/** owner_guard: a word in a shared file by which any reader sees, without a system call, that the thread that holds it is gone.
 *  Plain C.
 *  Owns:   a mapping of the page around the word, from hold to release.
 *  Thread: the holder's alone; release must come from the same thread.
 *  Holds:  (1) the word is the holder's thread id while the guard is held.  (2) it is 0 after a release, and has
 *          FUTEX_OWNER_DIED set once the holder has died, however it died (SIGKILL too).  (3) by then none of the holder's
 *          descriptors has been closed: whoever takes over a socket or a lock of the dead one finds the word changed.
 *
 *  It is a robust mutex (pthread_mutexattr_setrobust), locked for the holder's life: at a thread's exit the kernel walks
 *  its list of robust locks and marks them, before it closes the files (Linux, Documentation/locking/robust-futexes.rst). */
#ifndef HEARTH_OWNER_GUARD_H
#define HEARTH_OWNER_GUARD_H

#include <stddef.h>

/** What the guard takes in the file. */
#define OWNER_GUARD_BYTES 64

typedef struct owner_guard {
    void *page;
    size_t page_size;
    void *lock;
    /** Where the word is, in bytes from the start of the file. */
    size_t word_at;
} owner_guard_t;

/** Holds a guard in the OWNER_GUARD_BYTES zero bytes from `at` on, a multiple of 64, of an existing file. Returns 0 or an errno;
 *  ENOTSUP where the C library or the kernel has no robust locks. */
int owner_guard_hold(const char *path, size_t at, owner_guard_t *guard);
/** The word becomes 0. Safe to call twice. */
void owner_guard_release(owner_guard_t *guard);

#endif
