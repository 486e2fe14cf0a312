/** pipeline_object: the JavaScript class Pipeline, as its files share it. ../pipeline.ts has its interface.
 *  Owns:   one pipeline per object; references to the thread's output and answers.
 *  Thread: the env's.
 *  Holds:  an object that nobody reaches and that waits for nothing is collected, and its connection closed with it. */
#ifndef HEARTH_PIPELINE_OBJECT_H
#define HEARTH_PIPELINE_OBJECT_H

#include "convert.h"
#include "env_state.h"
#include "pipeline.h"

#define OUTPUT_BYTES_MIN 4096

typedef struct pipeline_object {
    pipeline_t pipeline; /* first: its events lead here */
    napi_env env;
    env_state_t *state;
    napi_ref self; /* weak but while the pipeline is active */
    napi_ref output;
    napi_ref answers;
} pipeline_object_t;

/** The arguments of one call, undefined where none was given, and the pipeline it is for. */
typedef struct pipeline_call {
    napi_env env;
    pipeline_object_t *object;
    pipeline_t *pipeline;
    napi_value arguments[ARGUMENT_COUNT_MAX];
} pipeline_call_t;

/** False with an exception pending. */
bool pipeline_call_open(napi_env env, napi_callback_info info, pipeline_call_t *call);
/** Adds the class to `exports`. */
bool pipeline_class_register(napi_env env, napi_value exports);

/** Calls a function from the loop, microtasks after it; its exception becomes an uncaughtException of the thread. False when
 *  JavaScript cannot run any more. */
bool call_from_loop(napi_env env, napi_value self, napi_value function, size_t count, const napi_value *arguments);

extern const napi_property_descriptor pipeline_methods[];
extern const size_t pipeline_method_count;

#endif
