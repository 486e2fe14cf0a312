/** addon: the groups of functions that make up the addon's exports.
 *  Owns:   nothing.
 *  Thread: the env's.
 *  Holds:  each returns false with an exception pending. System errors are returned as negative errno numbers, and
 *          index.ts makes them into errors with Node's own names. */
#ifndef HEARTH_ADDON_H
#define HEARTH_ADDON_H

#include <node_api.h>
#include <stdbool.h>

bool addon_map_register(napi_env env, napi_value exports);
bool addon_guard_register(napi_env env, napi_value exports);
bool addon_system_register(napi_env env, napi_value exports);
bool addon_doorbell_register(napi_env env, napi_value exports);
bool addon_libpq_register(napi_env env, napi_value exports);

#endif
