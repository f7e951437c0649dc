/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A listening Unix socket
 *
 * Either systemd made it (socket activation), then it is only adopted and outlives us; or we make
 * it, then we also take it away. Making one must neither steal the path of a running agent nor be
 * stopped by what a killed one left behind:
 *
 *  1. A lock file beside the socket, locked for as long as we live, decides between two agents.
 *     The file is removed at the end, so after locking it is looked at once more: it must still be
 *     the one at its path.
 *  2. What is at the path must be a socket. If something answers a connect() there, it is in use by
 *     a program that knows nothing of our lock, and we refuse; if not, it is stale and goes.
 *  3. The socket has its mode before it is bound (its file takes it from there; a chmod() of the path could hit
 *     what somebody put there instead), then gets its group, and only then begins to listen: at no time can
 *     somebody connect who may not.
 */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <grp.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64

static gboolean G_GNUC_PRINTF(3, 4) fail(GError **error, int errnum, const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list args;

    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, G_IO_ERROR, (gint)g_io_error_from_errno(errnum), "%s: %s", message,
                g_strerror(errnum));
    return FALSE;
}

static gboolean fill_address(struct sockaddr_un *address, const char *path, GError **error)
{
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(address->sun_path))
        return fail(error, ENAMETOOLONG, "socket %s", path);
    memcpy(address->sun_path, path, strlen(path));
    return TRUE;
}

static gboolean make_directory(const char *path, GError **error)
{
    g_autofree char *directory = g_path_get_dirname(path);

    if (g_mkdir_with_parents(directory, 0755) < 0)
        return fail(error, errno, "directory %s for the socket", directory);
    return TRUE;
}

static gboolean same_file(int fd, const char *path)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && lstat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Locks PATH.lock; the one who removed it between our open() and flock() makes us try again. */
static gboolean take_lock(Listener *l, GError **error)
{
    g_autofree char *path = g_strconcat(l->path, ".lock", NULL);

    for (;;) {
        l->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (l->lock_fd < 0)
            return fail(error, errno, "lock file %s", path);
        if (flock(l->lock_fd, LOCK_EX | LOCK_NB) < 0) {
            int errnum = errno == EWOULDBLOCK ? EADDRINUSE : errno;

            close(l->lock_fd);
            l->lock_fd = -1;
            return fail(error, errnum, "socket %s: another agent runs there", l->path);
        }
        if (same_file(l->lock_fd, path))
            return TRUE;
        close(l->lock_fd);
    }
}

static gboolean remove_stale(const char *path, const struct sockaddr_un *address, GError **error)
{
    struct stat st;
    int probe, r;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? TRUE : fail(error, errno, "socket %s", path);
    if (!S_ISSOCK(st.st_mode))
        return fail(error, EEXIST, "%s is in the way and is not a socket", path);
    probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return fail(error, errno, "socket %s", path);
    r = connect(probe, (const struct sockaddr *)address, sizeof(*address)) < 0 ? errno : 0;
    close(probe);
    if (r != ECONNREFUSED)
        return fail(error, EADDRINUSE, "socket %s: another program listens there", path);
    return unlink(path) == 0 ? TRUE : fail(error, errno, "stale socket %s", path);
}

static gboolean give_to_group(const char *path, const char *group, GError **error)
{
    struct group *entry;

    if (group && *group) {
        entry = getgrnam(group);
        if (!entry)
            return fail(error, ENOENT, "group '%s' for socket %s", group, path);
        if (lchown(path, (uid_t)-1, entry->gr_gid) < 0)
            return fail(error, errno, "giving socket %s to group '%s'", path, group);
    }
    return TRUE;
}

static gboolean bind_and_listen(Listener *l, const struct sockaddr_un *address, const char *group,
                                GError **error)
{
    struct stat st;
    mode_t mask;
    int r;

    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0)
        return fail(error, errno, "socket %s", l->path);
    if (fchmod(l->fd, 0660) < 0)
        return fail(error, errno, "mode of socket %s", l->path);
    mask = umask(0117);
    r = bind(l->fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? errno : 0;
    umask(mask);
    if (r != 0)
        return fail(error, r, "socket %s", l->path);
    if (lstat(l->path, &st) < 0)
        return fail(error, errno, "socket %s", l->path);
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    if (!give_to_group(l->path, group, error))
        return FALSE;
    return listen(l->fd, BACKLOG) == 0 ? TRUE : fail(error, errno, "socket %s", l->path);
}

static Listener *listener_new(const char *path)
{
    Listener *l = g_new0(Listener, 1);

    l->path = g_strdup(path);
    l->fd = l->lock_fd = -1;
    return l;
}

/**
 * listener_open() - make a socket and listen on it
 * @path: where; a missing directory is made
 * @group: who may connect besides our own user, or NULL
 * @error: names the path and what is wrong
 *
 * Return: a listener, or NULL.
 */
Listener *listener_open(const char *path, const char *group, GError **error)
{
    g_autoptr(Listener) l = listener_new(path);
    struct sockaddr_un address;

    if (!fill_address(&address, path, error) || !make_directory(path, error) || !take_lock(l, error) ||
        !remove_stale(path, &address, error) || !bind_and_listen(l, &address, group, error))
        return NULL;
    return g_steal_pointer(&l);
}

/**
 * listener_adopt() - use a listening socket that systemd made
 * @fd: the socket; owned by the listener on success
 * @path: its path, for messages
 * @error: set if it is not a listening stream socket
 *
 * Return: a listener, or NULL.
 */
Listener *listener_adopt(int fd, const char *path, GError **error)
{
    int listens = 0, type = 0;
    socklen_t size = sizeof(int);
    Listener *l;

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || !listens || type != SOCK_STREAM) {
        fail(error, EINVAL, "descriptor %d from systemd for %s", fd, path);
        return NULL;
    }
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        fail(error, errno, "descriptor %d from systemd for %s", fd, path);
        return NULL;
    }
    l = listener_new(path);
    l->fd = fd;
    return l;
}

/* Removes the socket's file if it still is ours. */
static void remove_own_file(Listener *l)
{
    struct stat st;

    if (l->ino && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(l->path);
}

/**
 * listener_free() - stop listening, and remove what listener_open() made
 * @l: a listener, or NULL
 */
void listener_free(Listener *l)
{
    g_autofree char *lock = NULL;

    if (!l)
        return;
    remove_own_file(l);
    if (l->fd >= 0)
        close(l->fd);
    if (l->lock_fd >= 0) {
        lock = g_strconcat(l->path, ".lock", NULL);
        unlink(lock);
        close(l->lock_fd);
    }
    g_free(l->path);
    g_free(l);
}

/* Out-of-band bytes come in line: others the kernel drops in recvmsg(), with the descriptors they carry. */
static void take_oob_in_line(int fd)
{
    int on = 1;

    setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
}

/**
 * listener_accept() - the next connection
 * @l: a listener
 *
 * Return: a non-blocking descriptor, or a negative errno (-EAGAIN: there is none).
 */
int listener_accept(Listener *l)
{
    int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return -errno;
    take_oob_in_line(fd);
    return fd;
}
