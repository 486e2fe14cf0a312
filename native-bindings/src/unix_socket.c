/** unix_socket: see the header.
 *  Owns: a socket, within one call.   Thread: any.   Holds: as there. */
#define _GNU_SOURCE
#include "unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59 /* Linux 4.13 */
#endif

int peer_credentials_read(int descriptor, peer_credentials_t *peer) {
    struct ucred credentials;
    socklen_t size = sizeof credentials;
    if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return errno;
    if (credentials.pid == 0) return ENOTCONN; /* what Linux answers for a socket without a peer, TCP included */
    *peer = (peer_credentials_t){credentials.pid, credentials.uid, credentials.gid};
    return 0;
}

int peer_groups_read(int descriptor, unsigned int *groups, size_t most, size_t *count) {
    socklen_t size = (socklen_t)(most * sizeof *groups);
    *count = 0;
    if (getsockopt(descriptor, SOL_SOCKET, SO_PEERGROUPS, groups, &size) != 0) return errno;
    *count = size / sizeof *groups;
    return 0;
}

int datagram_send(const char *address, const char *bytes, size_t size) {
    struct sockaddr_un target = {.sun_family = AF_UNIX};
    size_t length = strlen(address);
    if (length < 2 || (address[0] != '/' && address[0] != '@')) return EINVAL;
    if (length >= sizeof target.sun_path) return ENAMETOOLONG;
    memcpy(target.sun_path, address, length);
    if (address[0] == '@') target.sun_path[0] = '\0';
    socklen_t target_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (address[0] == '/'));
    int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) return errno;
    ssize_t sent = sendto(descriptor, bytes, size, MSG_NOSIGNAL, (struct sockaddr *)&target, target_size);
    int error = sent < 0 ? errno : 0;
    close(descriptor);
    return error;
}

int listening_path_read(int descriptor, char *path, size_t *size) {
    struct sockaddr_un address;
    socklen_t address_size = sizeof address;
    int kind = 0;
    int is_listening = 0;
    socklen_t option_size = sizeof kind;
    if (getsockname(descriptor, (struct sockaddr *)&address, &address_size) != 0) return errno;
    if (getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &kind, &option_size) != 0) return errno;
    if (address.sun_family != AF_UNIX || kind != SOCK_STREAM) return EPROTOTYPE;
    option_size = sizeof is_listening;
    if (getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &option_size) != 0) return errno;
    if (!is_listening || address_size <= offsetof(struct sockaddr_un, sun_path)) return EINVAL;
    size_t length = address_size - offsetof(struct sockaddr_un, sun_path);
    if (address.sun_path[0] == '\0') address.sun_path[0] = '@';
    else length = strnlen(address.sun_path, length);
    if (length > *size) return ENAMETOOLONG;
    memcpy(path, address.sun_path, length);
    *size = length;
    return 0;
}

int descriptor_keep(int descriptor) {
    int flags = fcntl(descriptor, F_GETFD);
    if (flags < 0) return errno;
    return fcntl(descriptor, F_SETFD, flags & ~FD_CLOEXEC) < 0 ? errno : 0;
}
