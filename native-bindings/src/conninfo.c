/** conninfo: see the header.
 *  Owns: the parsed options.   Thread: any.   Holds: keywords and values end with NULL, as libpq wants them. */
#include "conninfo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void conninfo_set(conninfo_t *info, const char *keyword, const char *value);
static bool conninfo_make_safe(conninfo_t *info, char *problem, size_t problem_size);

bool conninfo_open(conninfo_t *info, const libpq_api_t *pq, const char *text, const conninfo_hosts_t *hosts,
                   char *problem, size_t problem_size) {
    memset(info, 0, sizeof *info);
    info->pq = pq;
    char *parse_problem = NULL;
    info->options = pq->PQconninfoParse(text, &parse_problem);
    if (info->options == NULL) {
        snprintf(problem, problem_size, "%s", parse_problem == NULL ? "out of memory\n" : parse_problem);
        if (parse_problem != NULL) pq->PQfreemem(parse_problem);
        return false;
    }
    for (PQconninfoOption *option = info->options; option->keyword != NULL; option++) {
        if (option->val != NULL) conninfo_set(info, option->keyword, option->val);
    }
    if (hosts != NULL) {
        if (hosts->host != NULL) conninfo_set(info, "host", hosts->host);
        if (hosts->hostaddr != NULL) conninfo_set(info, "hostaddr", hosts->hostaddr);
        if (hosts->port != NULL) conninfo_set(info, "port", hosts->port);
    }
    conninfo_set(info, "client_encoding", "UTF8");
    if (conninfo_make_safe(info, problem, problem_size)) return true;
    conninfo_close(info);
    return false;
}

const char *conninfo_value(const conninfo_t *info, const char *keyword) {
    for (size_t i = 0; i < info->count; i++) {
        if (strcmp(info->keywords[i], keyword) == 0) return info->values[i];
    }
    for (PQconninfoOption *option = info->options; option->keyword != NULL; option++) {
        if (strcmp(option->keyword, keyword) == 0) return option->envvar == NULL ? NULL : getenv(option->envvar);
    }
    return NULL;
}

void conninfo_close(conninfo_t *info) {
    if (info->options != NULL) info->pq->PQconninfoFree(info->options);
    info->options = NULL;
    info->count = 0;
}

static void conninfo_set(conninfo_t *info, const char *keyword, const char *value) {
    size_t at = 0;
    while (at < info->count && strcmp(info->keywords[at], keyword) != 0) at++;
    if (at == CONNINFO_KEYWORD_COUNT_MAX) return; /* libpq 18 knows 56 keywords */
    info->keywords[at] = keyword;
    info->values[at] = value;
    if (at == info->count) info->count++;
}

static bool conninfo_make_safe(conninfo_t *info, char *problem, size_t problem_size) {
    if (info->pq->is_tls_safe) return true;
    const char *mode = conninfo_value(info, "sslmode");
    bool is_asked_for = mode != NULL && (strcmp(mode, "require") == 0 || strncmp(mode, "verify", 6) == 0);
    if (is_asked_for) {
        snprintf(problem, problem_size,
                 "sslmode=%s is refused: %s uses OpenSSL %d beside node's own and a preloaded allocator forbids keeping "
                 "them apart; name a libpq built with node's OpenSSL major, or start without the preload\n",
                 mode, info->pq->path, info->pq->openssl_major);
        return false;
    }
    conninfo_set(info, "sslmode", "disable");
    return true;
}
