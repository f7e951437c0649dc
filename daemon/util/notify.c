/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Telling systemd how we are
 *
 * What sd_notify() does, by other system calls: it makes a socket for each message and uses sendmsg(), which
 * the agent denies itself once it serves (sandbox.c). So the socket is made before that, and stays.
 */
#include "notify.h"

#include <glib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int notify_fd = -1;

/**
 * notify_open() - connect to the one who started us, if it wants to know
 *
 * To be called once, before notify_send().
 */
void notify_open(void)
{
    const char *path = g_getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    gsize length = path ? strlen(path) : 0;

    if (length == 0 || length >= sizeof(address.sun_path))
        return;
    memcpy(address.sun_path, path, length);
    if (address.sun_path[0] == '@')
        address.sun_path[0] = '\0'; /* an abstract name */
    notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (notify_fd < 0 || connect(notify_fd, (const struct sockaddr *)&address,
                                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) == 0)
        return;
    close(notify_fd);
    notify_fd = -1;
}

/**
 * notify_send() - tell something
 * @state: as for sd_notify()
 */
void notify_send(const char *state)
{
    if (notify_fd >= 0)
        (void)!send(notify_fd, state, strlen(state), MSG_NOSIGNAL);
}
