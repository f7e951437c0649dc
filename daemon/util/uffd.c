/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Does this kernel have UFFDIO_POISON?
 *
 * Asked of the kernel itself, with a userfaultfd of our own that is closed at once: never of its
 * version. Where we may not make one (a sandbox), the answer is yes: then each request finds out
 * by itself, and its answer carries the errno.
 */
#include "uffd.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/**
 * uffd_kernel_can_poison() - probe the running kernel
 *
 * Return: FALSE if the kernel says that it has no UFFDIO_POISON.
 */
gboolean uffd_kernel_can_poison(void)
{
    struct uffdio_api api = { .api = UFFD_API };
    gboolean can = TRUE;
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

    if (fd < 0)
        return TRUE;
    if (ioctl(fd, UFFDIO_API, &api) == 0)
        can = (api.features & UFFD_FEATURE_POISON) != 0;
    close(fd);
    return can;
}
