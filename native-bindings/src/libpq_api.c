/** libpq_api: finds, checks and loads the one libpq of the process.
 *  Owns:   the dlopen handle, the configured candidates and the mutex around them.
 *  Thread: any. `published` is written once, with release; readers load it with acquire.
 *  Holds:  a candidate that lacks a required function is skipped and never published. */
#define _GNU_SOURCE
#include "libpq_api.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t load_mutex = PTHREAD_MUTEX_INITIALIZER;
static char *configured[LIBPQ_CONFIGURED_COUNT_MAX];
static size_t configured_count;
static libpq_api_t table;
static _Atomic(const libpq_api_t *) published;

static bool candidate_load(const char *candidate, int node_openssl_major, char *problem, size_t size);
static bool table_fill(void *library, const char *path, char *problem, size_t size);
static void problem_add(char *text, size_t size, const char *addition);

const libpq_api_t *libpq_api_get(void) { return atomic_load_explicit(&published, memory_order_acquire); }

bool libpq_configure(const char *const *paths, size_t count) {
    bool is_accepted = false;
    pthread_mutex_lock(&load_mutex);
    if (libpq_api_get() == NULL && count <= LIBPQ_CONFIGURED_COUNT_MAX) {
        for (size_t i = 0; i < configured_count; i++) free(configured[i]);
        configured_count = 0;
        for (size_t i = 0; i < count; i++) {
            configured[configured_count] = strdup(paths[i]);
            if (configured[configured_count] != NULL) configured_count++;
        }
        is_accepted = configured_count == count;
    }
    pthread_mutex_unlock(&load_mutex);
    return is_accepted;
}

const libpq_api_t *libpq_load(const char *const *paths, size_t count, int node_openssl_major, char *problem,
                              size_t problem_size) {
    const libpq_api_t *api = libpq_api_get();
    if (api != NULL) return api;
    problem[0] = '\0';
    pthread_mutex_lock(&load_mutex);
    api = libpq_api_get(); /* another thread may have loaded it while this one waited */
    for (size_t i = 0; api == NULL && i < configured_count + count; i++) {
        const char *candidate = i < configured_count ? configured[i] : paths[i - configured_count];
        char reason[2 * LIBRARY_PATH_BYTES_MAX];
        if (candidate_load(candidate, node_openssl_major, reason, sizeof reason)) {
            snprintf(table.skipped, sizeof table.skipped, "%s", problem);
            /* Publish. Pairs with the acquire in libpq_api_get(): whoever sees the pointer sees the table. */
            atomic_store_explicit(&published, &table, memory_order_release);
            api = &table;
        } else {
            problem_add(problem, problem_size, reason);
        }
    }
    pthread_mutex_unlock(&load_mutex);
    return api;
}

static bool candidate_load(const char *candidate, int node_openssl_major, char *problem, size_t size) {
    char resolved[LIBRARY_PATH_BYTES_MAX];
    bool is_resolved = library_resolve(candidate, resolved, sizeof resolved);
    const char *path = is_resolved ? resolved : candidate;
    int openssl_major = is_resolved ? library_openssl_major(resolved) : -1;
    libpq_policy_t policy =
        libpq_policy_decide(openssl_major, node_openssl_major, malloc_is_interposed(), deep_bind_flag != 0);
    int flags = RTLD_NOW | RTLD_LOCAL | (policy.is_deep_bound ? deep_bind_flag : 0);
    void *library = dlopen(path, flags);
    if (library == NULL) {
        const char *reason = dlerror();
        snprintf(problem, size, "%s", reason == NULL ? path : reason);
        return false;
    }
    memset(&table, 0, sizeof table);
    if (!table_fill(library, path, problem, size)) {
        dlclose(library);
        return false;
    }
    Dl_info found;
    void *address = NULL;
    memcpy(&address, &table.PQlibVersion, sizeof address);
    bool is_named = dladdr(address, &found) != 0 && found.dli_fname != NULL;
    snprintf(table.path, sizeof table.path, "%s", is_named ? found.dli_fname : path);
    if (!is_resolved) { /* loaded by the loader's own search: only now can the file be read */
        openssl_major = library_openssl_major(table.path);
        policy = libpq_policy_decide(openssl_major, node_openssl_major, false, false);
    }
    table.openssl_major = openssl_major;
    table.is_deep_bound = policy.is_deep_bound;
    table.is_tls_safe = policy.is_tls_safe;
    return true;
}

/* dlsym gives an object pointer and ISO C has no cast from it to a function: the bytes are copied, as POSIX suggests. */
#define TABLE_FIND(type, name, arguments)                 \
    do {                                                  \
        void *address = dlsym(library, #name);            \
        memcpy(&table.name, &address, sizeof table.name); \
        missing = address == NULL ? #name : missing;      \
    } while (0);

static bool table_fill(void *library, const char *path, char *problem, size_t size) {
    const char *missing = NULL;
    LIBPQ_REQUIRED(TABLE_FIND)
    if (missing != NULL) {
        snprintf(problem, size, "%s: has no %s, so it is no libpq or one older than 9.5", path, missing);
        return false;
    }
    LIBPQ_RELEASE_14(TABLE_FIND)
    table.has_pipeline = missing == NULL;
    missing = NULL;
    LIBPQ_RELEASE_17(TABLE_FIND)
    table.has_release_17 = table.has_pipeline && missing == NULL;
    return true;
}

static void problem_add(char *text, size_t size, const char *addition) {
    size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s", used == 0 ? "" : "; ", addition);
}
