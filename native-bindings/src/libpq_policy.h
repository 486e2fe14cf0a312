/** libpq_policy: how a libpq must be loaded beside the OpenSSL that the node executable exports.
 *  Owns:   the decision, and the facts it needs about a library file and the allocator. No Node, no libpq.
 *  Thread: any; no state.
 *  Holds:  two different OpenSSL majors never meet in one symbol scope with TLS in use. */
#ifndef HEARTH_LIBPQ_POLICY_H
#define HEARTH_LIBPQ_POLICY_H

#include <stdbool.h>
#include <stddef.h>

#define LIBRARY_PATH_BYTES_MAX 1024

extern const int deep_bind_flag; /* RTLD_DEEPBIND where the C library has it, else 0 */

typedef struct libpq_policy {
    bool is_deep_bound; /* load with RTLD_DEEPBIND, so that libpq sees its own libssl before node's */
    bool is_tls_safe;   /* when false, connections are made with sslmode=disable or refused */
} libpq_policy_t;

/** `library_major` is 0 for a libpq without TLS and -1 when its file could not be read. */
libpq_policy_t libpq_policy_decide(int library_major, int node_major, bool is_malloc_interposed, bool can_deep_bind);

/** The major number of the libssl that an ELF file names as needed: 0 none, -1 unreadable. libssl.so.1.1 gives 1. */
int library_openssl_major(const char *path);

/** The file behind a library name: `name` itself when it has a '/', else the first hit in the usual folders. */
bool library_resolve(const char *name, char *path, size_t size);

/** True when malloc comes from elsewhere than the C library (LD_PRELOAD of jemalloc, tcmalloc, a sanitizer). */
bool malloc_is_interposed(void);

#endif
