/** addon_libpq: choosing, loading and describing the process's libpq, for JavaScript.
 *  Owns: nothing.   Thread: the env's.   Holds: loading is idempotent; the first thread that asks decides. */
#include <stdio.h>

#include "addon.h"
#include "convert.h"
#include "libpq_api.h"
#include "libpq_policy.h"

#define CANDIDATE_COUNT_MAX LIBPQ_CONFIGURED_COUNT_MAX
#define LOAD_PROBLEM_BYTES_MAX 4096

typedef struct candidates {
    text_t texts[CANDIDATE_COUNT_MAX];
    const char *paths[CANDIDATE_COUNT_MAX];
    uint32_t count;
} candidates_t;

static bool candidates_read(napi_env env, napi_value array, candidates_t *candidates);
static void candidates_free(candidates_t *candidates);
static napi_value make_libpq_info(napi_env env, const libpq_api_t *api);

/* (paths) → whether they will be tried; false once a libpq is loaded */
static napi_value js_libpq_configure(napi_env env, napi_callback_info info) {
    size_t count = 1;
    napi_value arguments[1];
    candidates_t candidates;
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    if (!candidates_read(env, arguments[0], &candidates)) return NULL;
    bool is_accepted = libpq_configure(candidates.paths, candidates.count);
    candidates_free(&candidates);
    return make_bool(env, is_accepted);
}

/* (default paths, node's OpenSSL major) → what was loaded, or a string that says why nothing was */
static napi_value js_libpq_load(napi_env env, napi_callback_info info) {
    size_t count = 2;
    napi_value arguments[2];
    candidates_t candidates;
    int32_t node_openssl_major = 0;
    char problem[LOAD_PROBLEM_BYTES_MAX];
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    NAPI_TRY(env, napi_get_value_int32(env, arguments[1], &node_openssl_major));
    if (!candidates_read(env, arguments[0], &candidates)) return NULL;
    const libpq_api_t *api =
        libpq_load(candidates.paths, candidates.count, node_openssl_major, problem, sizeof problem);
    candidates_free(&candidates);
    return api == NULL ? make_text(env, problem) : make_libpq_info(env, api);
}

/* (library's OpenSSL major, node's, interposed malloc, loader can bind deeply) → the decision, for its test */
static napi_value js_libpq_policy(napi_env env, napi_callback_info info) {
    size_t count = 4;
    napi_value arguments[4];
    napi_value result;
    int32_t majors[2];
    bool facts[2];
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    for (size_t i = 0; i < 2; i++) NAPI_TRY(env, napi_get_value_int32(env, arguments[i], &majors[i]));
    for (size_t i = 0; i < 2; i++) NAPI_TRY(env, napi_get_value_bool(env, arguments[i + 2], &facts[i]));
    libpq_policy_t policy = libpq_policy_decide(majors[0], majors[1], facts[0], facts[1]);
    NAPI_TRY(env, napi_create_object(env, &result));
    bool is_ok = set_property(env, result, "deepBind", make_bool(env, policy.is_deep_bound)) &&
                 set_property(env, result, "tls", make_bool(env, policy.is_tls_safe));
    return is_ok ? result : NULL;
}

/* (path) → the OpenSSL major that the file needs: 0 none, -1 unreadable */
static napi_value js_library_openssl_major(napi_env env, napi_callback_info info) {
    size_t count = 1;
    napi_value arguments[1];
    text_t path;
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    if (!text_read(env, arguments[0], &path)) return NULL;
    int major = library_openssl_major(path.bytes);
    text_free(&path);
    return make_int(env, major);
}

static bool candidates_read(napi_env env, napi_value array, candidates_t *candidates) {
    uint32_t count = 0;
    candidates->count = 0;
    NAPI_TRY_BOOL(env, napi_get_array_length(env, array, &count));
    if (count > CANDIDATE_COUNT_MAX) {
        napi_throw_range_error(env, NULL, "at most 8 paths of libpq can be named");
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        napi_value path;
        bool is_ok = napi_get_element(env, array, i, &path) == napi_ok;
        if (!is_ok) convert_fail(env);
        if (!is_ok || !text_read(env, path, &candidates->texts[i])) {
            candidates_free(candidates);
            return false;
        }
        candidates->paths[i] = candidates->texts[i].bytes;
        candidates->count = i + 1;
    }
    return true;
}

static void candidates_free(candidates_t *candidates) {
    while (candidates->count > 0) text_free(&candidates->texts[--candidates->count]);
}

static napi_value make_libpq_info(napi_env env, const libpq_api_t *api) {
    napi_value result;
    napi_value features;
    NAPI_TRY(env, napi_create_object(env, &result));
    NAPI_TRY(env, napi_create_object(env, &features));
    bool is_ok = set_property(env, features, "pipeline", make_bool(env, api->has_pipeline)) &&
                 set_property(env, features, "pipelineSend", make_bool(env, api->has_release_17)) &&
                 set_property(env, features, "asyncCancel", make_bool(env, api->has_release_17)) &&
                 set_property(env, features, "tls", make_bool(env, api->is_tls_safe)) &&
                 set_property(env, result, "path", make_text(env, api->path)) &&
                 set_property(env, result, "version", make_int(env, api->PQlibVersion())) &&
                 set_property(env, result, "opensslMajor", make_int(env, api->openssl_major)) &&
                 set_property(env, result, "deepBind", make_bool(env, api->is_deep_bound)) &&
                 set_property(env, result, "skipped", make_text(env, api->skipped)) &&
                 set_property(env, result, "features", features);
    return is_ok ? result : NULL;
}

bool addon_libpq_register(napi_env env, napi_value exports) {
    static const napi_property_descriptor functions[] = {
        NATIVE_FUNCTION("libpqConfigure", js_libpq_configure),
        NATIVE_FUNCTION("libpqLoad", js_libpq_load),
        NATIVE_FUNCTION("libpqPolicy", js_libpq_policy),
        NATIVE_FUNCTION("libraryOpensslMajor", js_library_openssl_major),
    };
    return add_functions(env, exports, functions, sizeof functions / sizeof *functions);
}
