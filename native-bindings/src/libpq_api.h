/** libpq_api: libpq as a table of functions found at run time, so that building needs no libpq headers.
 *  Owns:   the one libpq of the process and the table of its functions. Never unloaded once loaded.
 *  Thread: any; loading is serialised by a mutex, the table is immutable once published.
 *  Holds:  (1) a published table has every function of LIBPQ_REQUIRED. (2) The functions of a newer group are all there
 *          or all NULL, and `has_pipeline` / `has_release_17` say which.
 *  Source: the declarations follow the documentation, https://www.postgresql.org/docs/current/libpq.html */
#ifndef HEARTH_LIBPQ_API_H
#define HEARTH_LIBPQ_API_H

#include <stdbool.h>
#include <stddef.h>

#include "libpq_policy.h"

typedef struct pg_conn PGconn;
typedef struct pg_result PGresult;
typedef struct pg_cancel PGcancel;
typedef struct pg_cancel_conn PGcancelConn;
typedef unsigned int Oid;
typedef void (*PQnoticeProcessor)(void *context, const char *message);
typedef void (*PQnoticeReceiver)(void *context, const PGresult *notice);

typedef struct PGnotify {
    char *relname;
    int be_pid;
    char *extra;
    struct PGnotify *next;
} PGnotify;

typedef struct PQconninfoOption {
    char *keyword;
    char *envvar;
    char *compiled;
    char *val;
    char *label;
    char *dispchar;
    int dispsize;
} PQconninfoOption;

enum { CONNECTION_OK = 0, CONNECTION_BAD = 1 };
enum { PGRES_POLLING_FAILED = 0, PGRES_POLLING_READING, PGRES_POLLING_WRITING, PGRES_POLLING_OK };
enum {
    PGRES_EMPTY_QUERY = 0,
    PGRES_COMMAND_OK,
    PGRES_TUPLES_OK,
    PGRES_COPY_OUT,
    PGRES_COPY_IN,
    PGRES_BAD_RESPONSE,
    PGRES_NONFATAL_ERROR,
    PGRES_FATAL_ERROR,
    PGRES_COPY_BOTH,
    PGRES_SINGLE_TUPLE,
    PGRES_PIPELINE_SYNC,
    PGRES_PIPELINE_ABORTED
};
/* PQresultErrorField() */
enum {
    PG_DIAG_SEVERITY = 'S',
    PG_DIAG_SEVERITY_NONLOCALIZED = 'V',
    PG_DIAG_SQLSTATE = 'C',
    PG_DIAG_MESSAGE_PRIMARY = 'M',
    PG_DIAG_MESSAGE_DETAIL = 'D',
    PG_DIAG_MESSAGE_HINT = 'H',
    PG_DIAG_STATEMENT_POSITION = 'P'
};
enum { PQERRORS_DEFAULT = 1 };

#define LIBPQ_REQUIRED(X)                                                                              \
    X(int, PQlibVersion, (void))                                                                       \
    X(PQconninfoOption *, PQconninfoParse, (const char *text, char **problem))                         \
    X(void, PQconninfoFree, (PQconninfoOption * options))                                              \
    X(PGconn *, PQconnectStartParams, (const char *const *, const char *const *, int expand_dbname))   \
    X(PGconn *, PQconnectdbParams, (const char *const *, const char *const *, int expand_dbname))      \
    X(int, PQconnectPoll, (PGconn *))                                                                  \
    X(void, PQfinish, (PGconn *))                                                                      \
    X(int, PQstatus, (const PGconn *))                                                                 \
    X(int, PQsocket, (const PGconn *))                                                                 \
    X(char *, PQerrorMessage, (const PGconn *))                                                        \
    X(int, PQserverVersion, (const PGconn *))                                                          \
    X(int, PQbackendPID, (const PGconn *))                                                             \
    X(int, PQsslInUse, (PGconn *))                                                                     \
    X(const char *, PQparameterStatus, (const PGconn *, const char *name))                             \
    X(int, PQtransactionStatus, (const PGconn *))                                                      \
    X(PQnoticeProcessor, PQsetNoticeProcessor, (PGconn *, PQnoticeProcessor, void *context))           \
    X(PQnoticeReceiver, PQsetNoticeReceiver, (PGconn *, PQnoticeReceiver, void *context))              \
    X(PGresult *, PQexec, (PGconn *, const char *text))                                                \
    X(PGresult *, PQexecParams,                                                                        \
      (PGconn *, const char *text, int count, const Oid *types, const char *const *values,             \
       const int *lengths, const int *formats, int result_format))                                     \
    X(PGresult *, PQprepare, (PGconn *, const char *name, const char *text, int, const Oid *types))    \
    X(PGresult *, PQexecPrepared,                                                                      \
      (PGconn *, const char *name, int count, const char *const *values, const int *lengths,           \
       const int *formats, int result_format))                                                         \
    X(PGresult *, PQdescribePrepared, (PGconn *, const char *name))                                    \
    X(int, PQsendQuery, (PGconn *, const char *text))                                                  \
    X(int, PQsendQueryParams,                                                                          \
      (PGconn *, const char *text, int count, const Oid *types, const char *const *values,             \
       const int *lengths, const int *formats, int result_format))                                     \
    X(int, PQsendPrepare, (PGconn *, const char *name, const char *text, int, const Oid *types))       \
    X(int, PQsendQueryPrepared,                                                                        \
      (PGconn *, const char *name, int count, const char *const *values, const int *lengths,           \
       const int *formats, int result_format))                                                         \
    X(int, PQsendDescribePrepared, (PGconn *, const char *name))                                       \
    X(int, PQsetSingleRowMode, (PGconn *))                                                             \
    X(PGresult *, PQgetResult, (PGconn *))                                                             \
    X(int, PQconsumeInput, (PGconn *))                                                                 \
    X(int, PQisBusy, (PGconn *))                                                                       \
    X(int, PQsetnonblocking, (PGconn *, int on))                                                       \
    X(int, PQisnonblocking, (const PGconn *))                                                          \
    X(int, PQflush, (PGconn *))                                                                        \
    X(PGnotify *, PQnotifies, (PGconn *))                                                              \
    X(int, PQputCopyData, (PGconn *, const char *bytes, int size))                                     \
    X(int, PQputCopyEnd, (PGconn *, const char *problem))                                              \
    X(int, PQgetCopyData, (PGconn *, char **bytes, int async))                                         \
    X(PGcancel *, PQgetCancel, (PGconn *))                                                             \
    X(int, PQcancel, (PGcancel *, char *problem, int size))                                            \
    X(void, PQfreeCancel, (PGcancel *))                                                                \
    X(char *, PQescapeLiteral, (PGconn *, const char *text, size_t size))                              \
    X(char *, PQescapeIdentifier, (PGconn *, const char *text, size_t size))                           \
    X(void, PQfreemem, (void *))                                                                       \
    X(void, PQclear, (PGresult *))                                                                     \
    X(int, PQresultStatus, (const PGresult *))                                                         \
    X(char *, PQresStatus, (int status))                                                               \
    X(char *, PQresultErrorMessage, (const PGresult *))                                                \
    X(char *, PQresultErrorField, (const PGresult *, int field))                                       \
    X(int, PQntuples, (const PGresult *))                                                              \
    X(int, PQnfields, (const PGresult *))                                                              \
    X(char *, PQfname, (const PGresult *, int column))                                                 \
    X(int, PQfformat, (const PGresult *, int column))                                                  \
    X(Oid, PQftable, (const PGresult *, int column))                                                   \
    X(int, PQftablecol, (const PGresult *, int column))                                                \
    X(Oid, PQftype, (const PGresult *, int column))                                                    \
    X(int, PQfmod, (const PGresult *, int column))                                                     \
    X(char *, PQgetvalue, (const PGresult *, int row, int column))                                     \
    X(int, PQgetlength, (const PGresult *, int row, int column))                                       \
    X(int, PQgetisnull, (const PGresult *, int row, int column))                                       \
    X(int, PQnparams, (const PGresult *))                                                              \
    X(Oid, PQparamtype, (const PGresult *, int parameter))                                             \
    X(char *, PQcmdStatus, (PGresult *))                                                               \
    X(char *, PQcmdTuples, (PGresult *))

#define LIBPQ_RELEASE_14(X)                      \
    X(int, PQenterPipelineMode, (PGconn *))      \
    X(int, PQexitPipelineMode, (PGconn *))       \
    X(int, PQpipelineStatus, (const PGconn *))   \
    X(int, PQpipelineSync, (PGconn *))           \
    X(int, PQsendFlushRequest, (PGconn *))

#define LIBPQ_RELEASE_17(X)                                        \
    X(int, PQsendPipelineSync, (PGconn *))                         \
    X(int, PQsetChunkedRowsMode, (PGconn *, int rows))             \
    X(int, PQsendClosePrepared, (PGconn *, const char *name))      \
    X(PGcancelConn *, PQcancelCreate, (PGconn *))                  \
    X(int, PQcancelBlocking, (PGcancelConn *))                     \
    X(int, PQcancelStart, (PGcancelConn *))                        \
    X(int, PQcancelPoll, (PGcancelConn *))                         \
    X(int, PQcancelStatus, (const PGcancelConn *))                 \
    X(int, PQcancelSocket, (const PGcancelConn *))                 \
    X(char *, PQcancelErrorMessage, (const PGcancelConn *))        \
    X(void, PQcancelReset, (PGcancelConn *))                       \
    X(void, PQcancelFinish, (PGcancelConn *))

typedef struct libpq_api {
#define LIBPQ_FIELD(type, name, arguments) type(*name) arguments;
    LIBPQ_REQUIRED(LIBPQ_FIELD)
    LIBPQ_RELEASE_14(LIBPQ_FIELD)
    LIBPQ_RELEASE_17(LIBPQ_FIELD)
#undef LIBPQ_FIELD
    char path[LIBRARY_PATH_BYTES_MAX];
    char skipped[2048]; /* candidates that came first and did not load, with their reasons */
    int openssl_major;  /* of the libssl that this libpq names: 0 none, 1 for 1.1, 3; -1 unknown */
    bool is_deep_bound;
    bool is_tls_safe;
    bool has_pipeline;   /* libpq 14 and later */
    bool has_release_17; /* libpq 17 and later */
} libpq_api_t;

#define LIBPQ_CONFIGURED_COUNT_MAX 8

/** The table, or NULL while no libpq is loaded. */
const libpq_api_t *libpq_api_get(void);

/** Names the libraries to try before the default ones. False when a libpq is loaded already or there are too many. */
bool libpq_configure(const char *const *paths, size_t count);

/** Loads the first candidate that works, the configured ones first; a second call gives the same table.
 *  NULL when none does, and `problem` says why, candidate by candidate. `bare` names without '/' are looked up. */
const libpq_api_t *libpq_load(const char *const *paths, size_t count, int node_openssl_major, char *problem,
                              size_t problem_size);

#endif
