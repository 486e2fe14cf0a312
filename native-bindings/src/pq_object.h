/** pq_object: the JavaScript class PQ, with npm libpq's interface, as its files share it.
 *  Owns:   one connection per object, and the strong reference that keeps the object while its loop may call back.
 *  Thread: the env's.
 *  Holds:  an object that nobody reaches and that waits for nothing is collected, and its connection closed with it. */
#ifndef HEARTH_PQ_OBJECT_H
#define HEARTH_PQ_OBJECT_H

#include "connection.h"
#include "convert.h"
#include "env_state.h"

typedef struct pq_object {
    connection_t connection; /* first: connection_t's owner is found by a cast */
    napi_env env;
    env_state_t *state;
    napi_ref self; /* weak but while the connection is active */
} pq_object_t;

/** The arguments of one call and the connection it is for. */
typedef struct pq_call {
    napi_env env;
    connection_t *connection;
    const libpq_api_t *pq;
    napi_value arguments[ARGUMENT_COUNT_MAX]; /* undefined where none was given */
} pq_call_t;

/** False with an exception pending. */
bool pq_call_open(napi_env env, napi_callback_info info, pq_call_t *call);
/** A number argument, 0 when it is none. */
int pq_call_int(const pq_call_t *call, size_t index);
bool pq_call_flag(const pq_call_t *call, size_t index);

/** Adds the class to `exports`; its methods come from the tables below, each in its own file. */
bool pq_class_register(napi_env env, napi_value exports);

typedef struct method_table {
    const napi_property_descriptor *methods;
    size_t count;
} method_table_t;

extern const method_table_t pq_connection_methods;
extern const method_table_t pq_query_methods;
extern const method_table_t pq_result_methods;
extern const method_table_t pq_transfer_methods;
extern const method_table_t pq_pipeline_methods;

#define METHOD_TABLE(name, array) const method_table_t name = {array, sizeof array / sizeof *array}

#endif
