/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is this descriptor what its sender says?
 *
 * A VMM hands over two kinds. Both are verified before they are used, as a call on a descriptor of
 * another kind could do anything: ioctl() numbers are not unique, and read() on a FUSE file, a pipe
 * or a terminal can block for ever.
 *
 * - A userfaultfd has no query of its own that is free of effects, but the kernel names it. Such a
 *   name has no leading slash, so no path of a real file can look like it. Whose memory it belongs
 *   to cannot be asked, and need not be: whoever holds it can poison that memory without us.
 * - A memfd with F_SEAL_WRITE, SHRINK and GROW can never change again, in no process, so what has
 *   been checked stays true; only memfds answer F_GET_SEALS with these seals. It is read with
 *   pread(), never mapped, so that no fault can hit us.
 */
#include "fd-check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/**
 * fd_is_userfaultfd() - is it a userfaultfd?
 * @fd: an open descriptor of any kind
 */
gboolean fd_is_userfaultfd(int fd)
{
    static const char name[] = "anon_inode:[userfaultfd]";
    char link[sizeof("/proc/self/fd/") + 12];
    char target[sizeof(name) + 1];
    ssize_t n;

    g_snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, target, sizeof(target));
    return n == (ssize_t)strlen(name) && memcmp(target, name, strlen(name)) == 0;
}

/**
 * fd_check_sealed_memfd() - is it a memfd of this size that nobody can change?
 * @fd: an open descriptor of any kind
 * @size: bytes that it must have
 *
 * Return: 0; -EBADF if it is no memfd or lacks a seal; -EMSGSIZE if it has another size.
 */
int fd_check_sealed_memfd(int fd, guint64 size)
{
    const int wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;

    if (seals < 0 || (seals & wanted) != wanted || fstat(fd, &st) < 0)
        return -EBADF;
    return st.st_size >= 0 && (guint64)st.st_size == size ? 0 : -EMSGSIZE;
}

/**
 * fd_pread_all() - read a file from its start
 * @fd: a regular file
 * @buffer: where to
 * @size: how much; fewer bytes are an error
 *
 * Return: 0, or a negative errno (-ENODATA if the file ends early).
 */
int fd_pread_all(int fd, void *buffer, gsize size)
{
    gsize done = 0;

    while (done < size) {
        ssize_t n = pread(fd, (char *)buffer + done, size - done, (off_t)done);

        if (n == 0)
            return -ENODATA;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            done += (gsize)n;
    }
    return 0;
}
