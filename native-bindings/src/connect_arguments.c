/** connect_arguments: see the header.
 *  Owns: as there.   Thread: the env's.   Holds: as there. */
#include "connect_arguments.h"

#include <string.h>

bool hosts_read(napi_env env, const napi_value *arguments, hosts_text_t *hosts) {
    const char **fields[HOST_ARGUMENT_COUNT] = {&hosts->hosts.host, &hosts->hosts.hostaddr, &hosts->hosts.port};
    memset(&hosts->hosts, 0, sizeof hosts->hosts);
    hosts->count = 0;
    for (size_t i = 0; i < HOST_ARGUMENT_COUNT; i++) {
        napi_valuetype type;
        NAPI_TRY_BOOL(env, napi_typeof(env, arguments[i], &type));
        if (type == napi_undefined) continue;
        if (!text_read(env, arguments[i], &hosts->texts[hosts->count])) {
            hosts_free(hosts);
            return false;
        }
        *fields[i] = hosts->texts[hosts->count++].bytes;
    }
    return true;
}

void hosts_free(hosts_text_t *hosts) {
    while (hosts->count > 0) text_free(&hosts->texts[--hosts->count]);
}

napi_value make_conninfo(napi_env env, const libpq_api_t *pq, napi_value value) {
    static const char *const names[][2] = {
        {"host", "host"}, {"hostaddr", "hostaddr"}, {"port", "port"}, {"connect_timeout", "connectTimeout"}};
    text_t text;
    conninfo_t parsed;
    char problem[PROBLEM_BYTES_MAX];
    napi_value result;
    NAPI_TRY(env, napi_create_object(env, &result));
    if (!text_read(env, value, &text)) return NULL;
    bool is_ok = conninfo_open(&parsed, pq, text.bytes, NULL, problem, sizeof problem);
    text_free(&text);
    if (!is_ok) return make_text(env, problem);
    for (size_t i = 0; is_ok && i < sizeof names / sizeof *names; i++) {
        is_ok = set_property(env, result, names[i][1], make_text(env, conninfo_value(&parsed, names[i][0])));
    }
    conninfo_close(&parsed);
    return is_ok ? result : NULL;
}
