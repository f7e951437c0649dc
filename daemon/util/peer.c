/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who is at the other end of a socket
 *
 * A guest is tied to the process that connected, which the kernel names (SO_PEERCRED). A process id
 * alone is no identity: it can be in use by another process as soon as the first is gone, while its
 * socket lives on in a child. So a peer is its process id *and* the start time of that process, and
 * where the kernel has it (6.5) a pidfd of the process at connect() time, which never comes to mean
 * another one. The order matters: the start time is read first, then the pidfd is asked whether the
 * process still lives; if it does, the start time was its own.
 *
 * Without a pidfd, a process that connects and dies before the agent looks can at worst lend its
 * connection to the next owner of its number. It is then known by that owner's start time.
 */
#include "peer.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cgroup.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* Fields of /proc/PID/stat behind the name, counted from 0. */
enum {
    STAT_STATE = 0,
    STAT_THREADS = 17,
    STAT_START_TIME = 19,
};

/* What /proc/PID/stat has behind the name, which may hold anything and ends at the last ')'. */
static char **read_stat(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid);
    g_autofree char *stat = NULL;
    g_auto(GStrv) fields = NULL;
    const char *end;

    if (!g_file_get_contents(path, &stat, NULL, NULL))
        return NULL;
    end = strrchr(stat, ')');
    fields = end && end[1] == ' ' ? g_strsplit(end + 2, " ", -1) : NULL;
    return fields && g_strv_length(fields) > STAT_START_TIME ? g_steal_pointer(&fields) : NULL;
}

/**
 * peer_start_time() - when did a process start?
 * @pid: its process id
 * @ret_ticks: clock ticks since boot
 *
 * Return: 0, or -ESRCH if there is no such process.
 */
int peer_start_time(pid_t pid, guint64 *ret_ticks)
{
    g_auto(GStrv) fields = read_stat(pid);

    if (!fields)
        return -ESRCH;
    *ret_ticks = g_ascii_strtoull(fields[STAT_START_TIME], NULL, 10);
    return 0;
}

/*
 * Nobody has waited for it yet, but all of it has exited. A main thread that has ended looks the same, while
 * others of its threads, and the memory, live on: then there is more than one thread.
 */
static gboolean is_zombie(char **fields)
{
    char state = fields[STAT_STATE][0];

    return (state == 'Z' || state == 'X') && g_ascii_strtoull(fields[STAT_THREADS], NULL, 10) <= 1;
}

/* -1: this kernel has none; EMFILE and the like are below that, as is -ESRCH (-EPERM is not among them). */
static int open_pidfd(int sock)
{
    int fd = -1;
    socklen_t size = sizeof(fd);

    if (getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0)
        return fd;
    if (errno == ENOPROTOOPT)
        return -1;
    return errno == EINVAL || errno == ENODATA ? -ESRCH : -errno;
}

/**
 * peer_init() - identify the process at the other end
 * @peer: PEER_NULL; on success to be freed with peer_deinit()
 * @sock: a connected Unix socket
 *
 * Return: 0; -ESRCH if the process is gone or has no process id that we could see; another negative errno if
 * there are no descriptors left.
 */
int peer_init(Peer *peer, int sock)
{
    struct ucred cred;
    socklen_t size = sizeof(cred);
    int pidfd;

    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
        return -errno;
    if (cred.pid <= 0)
        return -ESRCH;
    peer->pid = cred.pid;
    peer->uid = cred.uid;
    if (peer_start_time(cred.pid, &peer->start_time) < 0)
        return -ESRCH;
    pidfd = open_pidfd(sock);
    if (pidfd < -1)
        return pidfd;
    peer->pidfd = pidfd;
    if (peer_alive(peer))
        return 0;
    peer_deinit(peer);
    return -ESRCH;
}

/**
 * peer_deinit() - close the pidfd
 * @peer: any peer
 */
void peer_deinit(Peer *peer)
{
    if (peer->pidfd >= 0)
        close(peer->pidfd);
    peer->pidfd = -1;
}

/**
 * peer_alive() - has the process not exited?
 * @peer: an identified peer
 */
gboolean peer_alive(const Peer *peer)
{
    struct pollfd poll_fd = { .fd = peer->pidfd, .events = POLLIN };
    g_auto(GStrv) fields = NULL;

    if (peer->pidfd >= 0)
        return poll(&poll_fd, 1, 0) == 0;
    fields = read_stat(peer->pid);
    return fields && !is_zombie(fields) &&
           g_ascii_strtoull(fields[STAT_START_TIME], NULL, 10) == peer->start_time;
}

/**
 * peer_cgroup() - which cgroup is it in?
 * @peer: an identified peer
 *
 * A process cannot leave its cgroup by itself, nor can its children, but for those that cgroup.c sees through;
 * libvirt and systemd give each guest its own.
 *
 * Return: a new string, equal for processes of the same cgroup; of this process alone where there are no
 * cgroups; NULL if the process is gone, which may not give it a cgroup of its own.
 */
char *peer_cgroup(const Peer *peer)
{
    char *cgroup = cgroup_of(peer->pid);

    if (cgroup || g_file_test("/proc/self/cgroup", G_FILE_TEST_EXISTS))
        return cgroup;
    return g_strdup_printf("process %d of %" G_GUINT64_FORMAT, (int)peer->pid, peer->start_time);
}

/**
 * peer_same_process() - are these one process?
 * @a: an identified peer
 * @b: another
 */
gboolean peer_same_process(const Peer *a, const Peer *b)
{
    return a->pid == b->pid && a->start_time == b->start_time;
}
