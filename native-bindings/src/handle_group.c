/** handle_group: see the header.
 *  Owns: the groups' memory.   Thread: the loop's own.   Holds: reference_count = creator + open handles. */
#include "handle_group.h"

#include <assert.h>
#include <stdlib.h>

static void group_drained(handle_group_t *group);

handle_group_t *handle_group_create(struct uv_loop_s *loop) {
    handle_group_t *group = calloc(1, sizeof *group);
    if (group == NULL) return NULL;
    group->loop = loop;
    group->reference_count = 1;
    return group;
}

void handle_group_add(handle_group_t *group, group_member_t *member) {
    assert(!group->is_closing);
    member->next = group->first;
    member->link = &group->first;
    if (member->next != NULL) member->next->link = &member->next;
    group->first = member;
}

void handle_group_remove(group_member_t *member) {
    if (member->link == NULL) return;
    *member->link = member->next;
    if (member->next != NULL) member->next->link = member->link;
    member->next = NULL;
    member->link = NULL;
}

void handle_group_hold(handle_group_t *group) {
    group->reference_count++;
    group->handle_count++;
}

void handle_group_release(handle_group_t *group) {
    assert(group->handle_count > 0);
    group->handle_count--;
    if (group->is_closing && group->handle_count == 0) group_drained(group);
    handle_group_drop(group);
}

void handle_group_close(handle_group_t *group, void (*on_drained)(void *context), void *context) {
    group->is_closing = true;
    group->on_drained = on_drained;
    group->context = context;
    while (group->first != NULL) {
        group_member_t *member = group->first;
        member->close(member);
        assert(group->first != member);
    }
    if (group->handle_count == 0) group_drained(group);
}

void handle_group_drop(handle_group_t *group) {
    assert(group->reference_count > 0);
    if (--group->reference_count == 0) free(group);
}

static void group_drained(handle_group_t *group) {
    void (*on_drained)(void *) = group->on_drained;
    group->on_drained = NULL;
    if (on_drained != NULL) on_drained(group->context);
}
