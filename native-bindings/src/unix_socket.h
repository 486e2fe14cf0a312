/** unix_socket: what about Unix sockets and descriptors Node has no call for. Plain C.
 *  Owns:   nothing.
 *  Thread: any.
 *  Holds:  no call blocks, and none leaves a descriptor open. */
#ifndef HEARTH_UNIX_SOCKET_H
#define HEARTH_UNIX_SOCKET_H

#include <stddef.h>

typedef struct peer_credentials {
    int pid;
    unsigned int uid;
    unsigned int gid;
} peer_credentials_t;

/** Who was at the other end when the connection was made. Returns 0 or an errno. */
int peer_credentials_read(int descriptor, peer_credentials_t *peer);
/** The supplementary groups it had then: at most `most` of them into `groups`, and how many into `count`. Returns 0 or an errno. */
int peer_groups_read(int descriptor, unsigned int *groups, size_t most, size_t *count);
/** Sends one datagram to a Unix socket, a path or '@' and an abstract name. Returns 0 or an errno. */
int datagram_send(const char *address, const char *bytes, size_t size);
/** The path that a listening Unix stream socket was bound to, '@' first for an abstract name; `size` is the room of `path`, then
 *  its length. Returns 0 or an errno: ENOTSOCK, EPROTOTYPE for a socket of another kind, EINVAL for one that does not listen. */
int listening_path_read(int descriptor, char *path, size_t *size);
/** Lets a descriptor stay open over execve. Returns 0 or an errno. */
int descriptor_keep(int descriptor);

#endif
