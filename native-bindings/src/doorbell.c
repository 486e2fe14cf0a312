/** doorbell: see the header.
 *  Owns:   the table; each bell and its libuv handle, which go together in libuv's close callback.
 *  Thread: as the header says; a place of the table is touched under its own mutex, which is never waited for long: a ring holds
 *          it for one write to an eventfd.
 *  Holds:  a handle is in the table exactly while libuv allows uv_async_send() on it. */
#include "doorbell.h"

#include <pthread.h>
#include <stdlib.h>

#include "uv_poll.h"

/* A number is the place in the low bits and, above them, how often the place has been taken. */
#define PLACE_BITS 8
#define TAKEN_COUNT_MAX (INT32_MAX >> PLACE_BITS)
_Static_assert(DOORBELL_COUNT_MAX == 1 << PLACE_BITS, "a number holds every place");

struct doorbell {
    uv_handle_t *handle;
    handle_group_t *group;
    doorbell_event on_ring;
    void *owner;
    int32_t number;
};

typedef struct place {
    pthread_mutex_t mutex;
    uv_handle_t *handle; /* NULL: free */
    int32_t taken_count;
} place_t;

static place_t places[DOORBELL_COUNT_MAX] = {
    [0 ... DOORBELL_COUNT_MAX - 1] = {PTHREAD_MUTEX_INITIALIZER, NULL, 0}};

static int32_t place_take(uv_handle_t *handle);
static void place_leave(int32_t number);
static void bell_on_ring(uv_handle_t *handle);
static void bell_on_closed(uv_handle_t *handle);

doorbell_t *doorbell_open(handle_group_t *group, doorbell_event on_ring, void *owner) {
    doorbell_t *bell = malloc(sizeof *bell);
    uv_handle_t *handle = calloc(1, uv_handle_size(UV_HANDLE_ASYNC));
    if (bell == NULL || handle == NULL || uv_async_init(group->loop, handle, bell_on_ring) != 0) {
        free(handle);
        free(bell);
        return NULL;
    }
    *bell = (doorbell_t){handle, group, on_ring, owner, 0};
    handle->data = bell;
    handle_group_hold(group);
    uv_unref(handle);
    bell->number = place_take(handle);
    if (bell->number != 0) return bell;
    doorbell_close(bell);
    return NULL;
}

int32_t doorbell_number(const doorbell_t *bell) { return bell->number; }

bool doorbell_ring(int32_t number) {
    if (number <= 0) return false;
    place_t *place = &places[number % DOORBELL_COUNT_MAX];
    pthread_mutex_lock(&place->mutex);
    bool is_open = place->handle != NULL && place->taken_count == number >> PLACE_BITS;
    if (is_open) uv_async_send(place->handle);
    pthread_mutex_unlock(&place->mutex);
    return is_open;
}

void doorbell_close(doorbell_t *bell) {
    if (bell->number != 0) place_leave(bell->number);
    bell->on_ring = NULL;
    bell->owner = NULL;
    uv_close(bell->handle, bell_on_closed);
}

static int32_t place_take(uv_handle_t *handle) {
    for (int32_t i = 0; i < DOORBELL_COUNT_MAX; i++) {
        place_t *place = &places[i];
        int32_t number = 0;
        pthread_mutex_lock(&place->mutex);
        if (place->handle == NULL) {
            place->handle = handle;
            place->taken_count = place->taken_count == TAKEN_COUNT_MAX ? 1 : place->taken_count + 1;
            number = place->taken_count << PLACE_BITS | i;
        }
        pthread_mutex_unlock(&place->mutex);
        if (number != 0) return number;
    }
    return 0;
}

/* After this no other thread is inside uv_async_send() with the handle, nor will be. */
static void place_leave(int32_t number) {
    place_t *place = &places[number % DOORBELL_COUNT_MAX];
    pthread_mutex_lock(&place->mutex);
    place->handle = NULL;
    pthread_mutex_unlock(&place->mutex);
}

static void bell_on_ring(uv_handle_t *handle) {
    doorbell_t *bell = handle->data;
    if (bell->on_ring != NULL) bell->on_ring(bell->owner);
}

static void bell_on_closed(uv_handle_t *handle) {
    doorbell_t *bell = handle->data;
    handle_group_t *group = bell->group;
    free(handle);
    free(bell);
    handle_group_release(group);
}
