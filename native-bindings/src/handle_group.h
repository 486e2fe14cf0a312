/** handle_group: everything of one thread that must be closed before its event loop goes.
 *  Owns:   the list of open members and the count of loop handles that libuv has not given back.
 *  Thread: the loop's own.
 *  Holds:  (1) a group lives until its creator and every handle have released it. (2) After handle_group_close() the
 *          list is empty, and `on_drained` runs exactly once, when the last handle is gone. */
#ifndef HEARTH_HANDLE_GROUP_H
#define HEARTH_HANDLE_GROUP_H

#include <stdbool.h>
#include <stddef.h>

struct uv_loop_s;
typedef struct group_member group_member_t;
typedef struct handle_group handle_group_t;

/** Embedded in whatever holds handles, a connection or a bell; `close` must take it off the list and close its handles. */
struct group_member {
    group_member_t *next;
    group_member_t **link;
    void (*close)(group_member_t *member);
};

struct handle_group {
    struct uv_loop_s *loop;
    group_member_t *first;
    size_t reference_count;
    size_t handle_count;
    bool is_closing;
    void (*on_drained)(void *context);
    void *context;
};

handle_group_t *handle_group_create(struct uv_loop_s *loop);
void handle_group_add(handle_group_t *group, group_member_t *member);
void handle_group_remove(group_member_t *member);
/** A loop handle was opened, or libuv has closed it. */
void handle_group_hold(handle_group_t *group);
void handle_group_release(handle_group_t *group);
/** Closes every member; for the end of the thread. */
void handle_group_close(handle_group_t *group, void (*on_drained)(void *context), void *context);
/** The creator's own reference; the group may live on until its handles are closed. */
void handle_group_drop(handle_group_t *group);

#endif
