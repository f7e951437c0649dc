/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What lets a process without any privilege over QEMU poison its memory. */
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory.h"
#include "platform.h"

SUBJECT("The agent: a userfaultfd in another process");

#define NOBODY 65534

static void send_fd(int sock, int fd, const void *data, size_t size)
{
    char space[CMSG_SPACE(sizeof(fd))] = { 0 };
    struct iovec part = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = space };
    struct cmsghdr *control;

    message.msg_controllen = sizeof(space);
    control = CMSG_FIRSTHDR(&message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(control), &fd, sizeof(fd));
    if (sendmsg(sock, &message, 0) < 0)
        broken("sendmsg");
}

static int receive_fd(int sock, void *data, size_t size)
{
    char space[CMSG_SPACE(sizeof(int))] = { 0 };
    struct iovec part = { .iov_base = data, .iov_len = size };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = space };
    int fd;

    message.msg_controllen = sizeof(space);
    if (recvmsg(sock, &message, MSG_CMSG_CLOEXEC) < 0 || !CMSG_FIRSTHDR(&message))
        broken("recvmsg");
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
    return fd;
}

static void drop_privileges(void)
{
    if (geteuid() == 0 && (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0))
        broken("setresuid");
}

/* Poisons what it is sent, as another user, and answers with the errno. */
static void be_the_agent(int sock)
{
    struct area area;
    int uffd, r;

    drop_privileges();
    uffd = receive_fd(sock, &area, sizeof(area));
    r = try_poison(uffd, page_of(&area, 1), area.page, NULL);
    if (write(sock, &r, sizeof(r)) != sizeof(r))
        broken("write");
    _exit(0);
}

BEHAVIOUR(agent_poisons, ALWAYS("ok, kept"),
          "the agent poisons the memory of the VMM that sent it a userfaultfd, and nobody else's",
          "daemon/poison-job.c")
{
    struct area area;
    int ends[2], r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        broken("socketpair");
    if (fork() == 0)
        be_the_agent(ends[1]);
    /* Mapped after the fork: where the agent has nothing itself. */
    area = map_area(SHARED, 4);
    arm(&area);
    send_fd(ends[0], area.uffd, &area, sizeof(area));
    if (read(ends[0], &r, sizeof(r)) != sizeof(r))
        broken("read");
    return seen("%s, %s", errno_word(r), kept_or_dropped(page_of(&area, 1)));
}

/* A VMM that ends when it has sent its userfaultfd. */
static void be_a_short_lived_vmm(int sock)
{
    struct area area = map_area(SHARED, 4);

    arm(&area);
    send_fd(sock, area.uffd, &area, sizeof(area));
    _exit(0);
}

BEHAVIOUR(agent_vmm_is_gone, ALWAYS("ESRCH"), "a userfaultfd whose process is gone reaches nobody else",
          "daemon/poison.c")
{
    struct area area;
    int ends[2], uffd;
    pid_t vmm;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        broken("socketpair");
    vmm = fork();
    if (vmm == 0)
        be_a_short_lived_vmm(ends[1]);
    if (waitpid(vmm, NULL, 0) < 0)
        broken("waitpid");
    uffd = receive_fd(ends[0], &area, sizeof(area));
    return errno_word(try_poison(uffd, page_of(&area, 1), area.page, NULL));
}

BEHAVIOUR(agent_unprivileged_vmm, ALWAYS("kept"), "QEMU needs no privilege for a userfaultfd of user mode",
          "system/ram-poison-emulate.c (QEMU)")
{
    struct area area;

    drop_privileges();
    area = poisoned_area(SHARED);
    return kept_or_dropped(page_of(&area, 1));
}
