/** uv_poll: what the binding uses of libuv, declared here because node's own headers ship uv.h only with
 *  the runtime, not with Debian's or npm's node_api.h.
 *  Owns:   nothing.
 *  Thread: any.
 *  Holds:  true for libuv 1.x (checked at load through uv_version): `data` is the first member of every handle, the real
 *          size of a handle is asked at run time, UV_ASYNC is 1, UV_POLL is 8 and UV_TIMER is 13 (uv.h, UV_HANDLE_TYPE_MAP). */
#ifndef HEARTH_UV_POLL_H
#define HEARTH_UV_POLL_H

#include <stddef.h>
#include <stdint.h>

struct uv_loop_s;
typedef struct uv_handle {
    void *data;
} uv_handle_t;

enum { UV_HANDLE_ASYNC = 1, UV_HANDLE_POLL = 8, UV_HANDLE_TIMER = 13 };
enum { UV_POLL_READABLE = 1, UV_POLL_WRITABLE = 2 };

typedef void (*uv_poll_callback)(uv_handle_t *handle, int status, int events);
typedef void (*uv_async_callback)(uv_handle_t *handle);
typedef void (*uv_timer_callback)(uv_handle_t *handle);
typedef void (*uv_close_callback)(uv_handle_t *handle);

unsigned int uv_version(void);
size_t uv_handle_size(int type);
int uv_poll_init(struct uv_loop_s *loop, uv_handle_t *handle, int descriptor);
int uv_poll_start(uv_handle_t *handle, int events, uv_poll_callback callback);
int uv_poll_stop(uv_handle_t *handle);
int uv_timer_init(struct uv_loop_s *loop, uv_handle_t *handle);
int uv_timer_start(uv_handle_t *handle, uv_timer_callback callback, uint64_t timeout_ms, uint64_t repeat_ms);
int uv_async_init(struct uv_loop_s *loop, uv_handle_t *handle, uv_async_callback callback);
int uv_async_send(uv_handle_t *handle);
void uv_ref(uv_handle_t *handle);
void uv_unref(uv_handle_t *handle);
void uv_close(uv_handle_t *handle, uv_close_callback callback);

#endif
