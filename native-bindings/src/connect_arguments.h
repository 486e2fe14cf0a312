/** connect_arguments: a connection string and the hosts that JavaScript has looked up for it, between JavaScript and C.
 *  Owns:   the texts of a hosts_text_t until hosts_free().
 *  Thread: the env's.
 *  Holds:  as convert.h: a failure leaves one exception pending. */
#ifndef HEARTH_CONNECT_ARGUMENTS_H
#define HEARTH_CONNECT_ARGUMENTS_H

#include "conninfo.h"
#include "convert.h"

#define HOST_ARGUMENT_COUNT 3

typedef struct hosts_text {
    conninfo_hosts_t hosts;
    text_t texts[HOST_ARGUMENT_COUNT];
    int count;
} hosts_text_t;

/** `arguments` are host, hostaddr and port, each undefined where the string's own stands. */
bool hosts_read(napi_env env, const napi_value *arguments, hosts_text_t *hosts);
void hosts_free(hosts_text_t *hosts);

/** {host, hostaddr, port, connectTimeout} as far as the string or the environment gives them, or the problem as a string. */
napi_value make_conninfo(napi_env env, const libpq_api_t *pq, napi_value text);

#endif
