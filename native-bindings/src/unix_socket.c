/** unix_socket: see the header.
 *  Owns: a socket, within one call.   Thread: any.   Holds: as there. */
#define _GNU_SOURCE
#include "unix_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int peer_credentials_read(int descriptor, peer_credentials_t *peer) {
    struct ucred credentials;
    socklen_t size = sizeof credentials;
    if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return errno;
    if (credentials.pid == 0) return ENOTCONN; /* what Linux answers for a socket without a peer, TCP included */
    *peer = (peer_credentials_t){credentials.pid, credentials.uid, credentials.gid};
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
