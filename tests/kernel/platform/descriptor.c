/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the agent can know of descriptors that others have sent or opened. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "compat.h"
#include "memory.h"
#include "platform.h"

SUBJECT("The agent: what it can know of descriptors");

BEHAVIOUR(descriptor_userfaultfd, ALWAYS("anon_inode:[userfaultfd]"),
          "the agent takes no descriptor of another kind, and can ask for no more than this",
          "daemon/util/fd-check.c")
{
    char path[64], target[64] = "";
    int uffd = open_userfaultfd(0);

    snprintf(path, sizeof(path), "/proc/self/fd/%d", uffd);
    if (readlink(path, target, sizeof(target) - 1) < 0)
        broken("readlink");
    return seen("%s", target);
}

BEHAVIOUR(descriptor_sealed_memfd, ALWAYS("EPERM"),
          "a list that the agent has checked cannot change under it", "daemon/util/fd-check.c")
{
    int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, 4096) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) < 0)
        broken("memfd");
    return pwrite(fd, "x", 1, 0) < 0 ? errno_word(errno) : "written to";
}

BEHAVIOUR(descriptor_peer, INFORMATIVE, "the agent holds on to the very process; without, to its start time",
          "daemon/util/peer.c")
{
    int ends[2], pidfd;
    socklen_t size = sizeof(pidfd);

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        broken("socketpair");
    return getsockopt(ends[0], SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) < 0 ? errno_word(errno) : "a pidfd";
}
