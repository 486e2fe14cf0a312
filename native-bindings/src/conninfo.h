/** conninfo: a connection string taken apart into libpq's keywords and values, with this project's additions.
 *  Owns:   the parsed options until conninfo_close().
 *  Thread: any.
 *  Holds:  client_encoding is always UTF8; sslmode is `disable` whenever TLS would meet another OpenSSL in the process. */
#ifndef HEARTH_CONNINFO_H
#define HEARTH_CONNINFO_H

#include "libpq_api.h"

#define CONNINFO_KEYWORD_COUNT_MAX 128
#define PROBLEM_BYTES_MAX 512

/** Host lists that replace those of the string, after the names in it were looked up elsewhere; NULL leaves them. */
typedef struct conninfo_hosts {
    const char *host;
    const char *hostaddr;
    const char *port;
} conninfo_hosts_t;

typedef struct conninfo {
    const libpq_api_t *pq;
    PQconninfoOption *options;
    const char *keywords[CONNINFO_KEYWORD_COUNT_MAX + 1];
    const char *values[CONNINFO_KEYWORD_COUNT_MAX + 1];
    size_t count;
} conninfo_t;

/** False with a line in `problem` when the string is not one, or asks for TLS where TLS is not safe. */
bool conninfo_open(conninfo_t *info, const libpq_api_t *pq, const char *text, const conninfo_hosts_t *hosts,
                   char *problem, size_t problem_size);
/** What the string, or else libpq's environment variable, says of `keyword`; NULL when neither does. */
const char *conninfo_value(const conninfo_t *info, const char *keyword);
void conninfo_close(conninfo_t *info);

#endif
