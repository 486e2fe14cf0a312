/** addon_system: unix_socket.c, allocator.c and writeback.c for JavaScript.
 *  Owns: nothing.   Thread: the env's.   Holds: as addon.h says. */
#include "addon.h"
#include "allocator.h"
#include "convert.h"
#include "unix_socket.h"
#include "writeback.h"

/* NGROUPS_MAX is 65536, which nobody has. */
#define GROUP_COUNT_MAX 1024

static napi_value make_groups(napi_env env, int descriptor) {
    unsigned int groups[GROUP_COUNT_MAX];
    size_t count = 0;
    napi_value list;
    /* Of a kernel that does not know, or a peer with more, there are none: users and first groups still count. */
    if (peer_groups_read(descriptor, groups, GROUP_COUNT_MAX, &count) != 0) count = 0;
    NAPI_TRY(env, napi_create_array_with_length(env, count, &list));
    for (size_t i = 0; i < count; i++)
        NAPI_TRY(env, napi_set_element(env, list, (uint32_t)i, make_unsigned(env, groups[i])));
    return list;
}

/* (descriptor) → {pid, uid, gid, groups} or -errno */
static napi_value js_peer_credentials(napi_env env, napi_callback_info info) {
    size_t count = 1;
    napi_value arguments[1];
    napi_value result;
    int32_t descriptor = -1;
    peer_credentials_t peer;
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    NAPI_TRY(env, napi_get_value_int32(env, arguments[0], &descriptor));
    int error = peer_credentials_read(descriptor, &peer);
    if (error != 0) return make_int(env, -error);
    NAPI_TRY(env, napi_create_object(env, &result));
    bool is_ok = set_property(env, result, "pid", make_int(env, peer.pid)) &&
                 set_property(env, result, "uid", make_unsigned(env, peer.uid)) &&
                 set_property(env, result, "gid", make_unsigned(env, peer.gid)) &&
                 set_property(env, result, "groups", make_groups(env, descriptor));
    return is_ok ? result : NULL;
}

/* (address, text) → 0 or -errno */
static napi_value js_send_datagram(napi_env env, napi_callback_info info) {
    size_t count = 2;
    napi_value arguments[2];
    text_t address;
    text_t text;
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    if (!text_read(env, arguments[0], &address)) return NULL;
    if (!text_read(env, arguments[1], &text)) {
        text_free(&address);
        return NULL;
    }
    int error = datagram_send(address.bytes, text.bytes, text.size);
    text_free(&text);
    text_free(&address);
    return make_int(env, -error);
}

/* (descriptor) → the path or -errno */
static napi_value js_listening_path(napi_env env, napi_callback_info info) {
    size_t count = 1;
    napi_value arguments[1];
    napi_value result;
    int32_t descriptor = -1;
    char path[128];
    size_t size = sizeof path;
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    NAPI_TRY(env, napi_get_value_int32(env, arguments[0], &descriptor));
    int error = listening_path_read(descriptor, path, &size);
    if (error != 0) return make_int(env, -error);
    NAPI_TRY(env, napi_create_string_utf8(env, path, size, &result));
    return result;
}

/* (descriptor) → 0 or -errno */
static napi_value js_keep_descriptor(napi_env env, napi_callback_info info) {
    size_t count = 1;
    napi_value arguments[1];
    int32_t descriptor = -1;
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    NAPI_TRY(env, napi_get_value_int32(env, arguments[0], &descriptor));
    return make_int(env, -descriptor_keep(descriptor));
}

static napi_value js_trim_memory(napi_env env, napi_callback_info info) {
    (void)info;
    return make_bool(env, allocator_trim());
}

/* (arenasMax, trimThresholdBytes, topPadBytes), each -1 to leave it → whether all were taken */
static napi_value js_tune_allocator(napi_env env, napi_callback_info info) {
    size_t count = 3;
    napi_value arguments[3];
    int32_t values[3];
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    for (size_t i = 0; i < 3; i++) NAPI_TRY(env, napi_get_value_int32(env, arguments[i], &values[i]));
    return make_bool(env, allocator_tune(values[0], values[1], values[2]));
}

/* (descriptor, at, bytes) → 0 or -errno */
static napi_value js_start_writeback(napi_env env, napi_callback_info info) {
    size_t count = 3;
    napi_value arguments[3];
    int32_t descriptor = -1;
    int64_t at = 0;
    int64_t bytes = 0;
    NAPI_TRY(env, napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
    NAPI_TRY(env, napi_get_value_int32(env, arguments[0], &descriptor));
    NAPI_TRY(env, napi_get_value_int64(env, arguments[1], &at));
    NAPI_TRY(env, napi_get_value_int64(env, arguments[2], &bytes));
    return make_int(env, -writeback_start(descriptor, at, bytes));
}

bool addon_system_register(napi_env env, napi_value exports) {
    static const napi_property_descriptor functions[] = {
        NATIVE_FUNCTION("peerCredentials", js_peer_credentials),
        NATIVE_FUNCTION("sendDatagram", js_send_datagram),
        NATIVE_FUNCTION("listeningPath", js_listening_path),
        NATIVE_FUNCTION("keepDescriptor", js_keep_descriptor),
        NATIVE_FUNCTION("trimMemory", js_trim_memory),
        NATIVE_FUNCTION("tuneAllocator", js_tune_allocator),
        NATIVE_FUNCTION("startWriteback", js_start_writeback),
    };
    return add_functions(env, exports, functions, sizeof functions / sizeof *functions);
}
