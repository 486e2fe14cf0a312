/** addon_map: file_map.c's mappings as ArrayBuffers.
 *  Owns:   each mapping from the ArrayBuffer's making to its finalizer, which unmaps it.
 *  Thread: the env's; such a buffer cannot be transferred, so every thread maps the file for itself.
 *  Holds:  detaching drops the last view, and only then is the memory unmapped: no view ever points at nothing. */
#include <math.h>
#include <stdlib.h>

#include "addon.h"
#include "convert.h"
#include "file_map.h"

#define MAP_BYTES_MAX 9007199254740991.0 /* Number.MAX_SAFE_INTEGER; the system has its own, lower opinion */

static napi_value make_map_buffer(napi_env env, const file_map_t *map);

static void map_on_free(napi_env env, void *bytes, void *hint) {
    (void)env;
    (void)bytes;
    file_map_t *map = hint;
    file_map_close(map);
    free(map);
}

/* (path, bytes, mode, reserve) → ArrayBuffer or -errno */
static napi_value js_map_file(napi_env env, napi_callback_info info) {
    size_t count = 4;
    napi_value arguments[4];
    double bytes = 0;
    uint32_t mode = 0;
    bool is_reserved = true;
    text_t path;
    file_map_t map;
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    NAPI_TRY(env, napi_get_value_double(env, arguments[1], &bytes));
    NAPI_TRY(env, napi_get_value_uint32(env, arguments[2], &mode));
    NAPI_TRY(env, napi_get_value_bool(env, arguments[3], &is_reserved));
    if (!(bytes >= 1 && bytes <= MAP_BYTES_MAX) || floor(bytes) != bytes) {
        napi_throw_range_error(env, NULL, "bytes must be a positive whole number");
        return NULL;
    }
    if (!text_read(env, arguments[0], &path)) return NULL;
    int error = file_map_create(path.bytes, (size_t)bytes, mode & 0777, is_reserved, &map);
    text_free(&path);
    return error == 0 ? make_map_buffer(env, &map) : make_int(env, -error);
}

/* (path, writable, owner's uid or -1) → ArrayBuffer or -errno */
static napi_value js_map_existing_file(napi_env env, napi_callback_info info) {
    size_t count = 3;
    napi_value arguments[3];
    bool is_writable = false;
    int64_t owner = -1;
    text_t path;
    file_map_t map;
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    NAPI_TRY(env, napi_get_value_bool(env, arguments[1], &is_writable));
    NAPI_TRY(env, napi_get_value_int64(env, arguments[2], &owner));
    if (!text_read(env, arguments[0], &path)) return NULL;
    int error = file_map_open(path.bytes, is_writable, owner < 0 ? FILE_MAP_ANY_OWNER : (uid_t)owner, &map);
    text_free(&path);
    return error == 0 ? make_map_buffer(env, &map) : make_int(env, -error);
}

/* (buffer): its views become empty; the finalizer follows. */
static napi_value js_unmap_file(napi_env env, napi_callback_info info) {
    size_t count = 1;
    napi_value arguments[1];
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    NAPI_TRY(env, napi_detach_arraybuffer(env, arguments[0]));
    return NULL;
}

static napi_value make_map_buffer(napi_env env, const file_map_t *map) {
    napi_value buffer;
    file_map_t *kept = malloc(sizeof *kept);
    if (kept == NULL) {
        file_map_t lost = *map;
        file_map_close(&lost);
        napi_throw_error(env, "ENOMEM", "out of memory for a mapping");
        return NULL;
    }
    *kept = *map;
    napi_status status = napi_create_external_arraybuffer(env, kept->bytes, kept->size, map_on_free, kept, &buffer);
    if (status == napi_ok) return buffer;
    convert_fail(env);
    map_on_free(env, NULL, kept);
    return NULL;
}

bool addon_map_register(napi_env env, napi_value exports) {
    static const napi_property_descriptor functions[] = {
        NATIVE_FUNCTION("mapFile", js_map_file),
        NATIVE_FUNCTION("mapExistingFile", js_map_existing_file),
        NATIVE_FUNCTION("unmapFile", js_unmap_file),
    };
    return add_functions(env, exports, functions, sizeof functions / sizeof *functions);
}
