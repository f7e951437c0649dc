/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System calls that the agent denies itself
 *
 * A VMM hands over a userfaultfd so that its memory can be poisoned. The kernel knows no smaller right: who
 * holds one can register any memory of that VMM, and put any content into each hole of it (UFFDIO_REGISTER,
 * UFFDIO_COPY). Somebody who takes the agent over through one VMM must not get that power over the others. So
 * a seccomp filter leaves ioctl() just the requests that the agent makes, and denies what else such a one
 * would want: to pass a userfaultfd to an accomplice who has no filter (by sendmsg() and its kin, or the same
 * in io_uring), to run other programs, to connect to other sockets, to get at the memory of others.
 *
 * What is not listed is allowed: which harmless calls libraries make differs from one to the next, and the
 * service's own SystemCallFilter= has a list of those. A call that libseccomp does not know is denied, too.
 *
 * The filter holds for all threads, and for all that comes after it; nothing takes it away again.
 */
#include "sandbox.h"

#include <errno.h>
#include <glib.h>
#include <linux/sockios.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "uffd.h"

#define SYSCALLS_END 1024

static const char *const denied[] = {
    /* descriptors to others, from others, and other ways to do what is denied here */
    "sendmsg", "sendmmsg", "pidfd_getfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
    "socket", "connect", "userfaultfd",
    /* other programs */
    "execve", "execveat",
    /* the memory of others; sanitizers look for leaks by ptrace() of their own process */
#ifndef __SANITIZE_ADDRESS__
    "ptrace",
#endif
    "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "perf_event_open",
    /* the kernel, and the system around us */
    "bpf", "keyctl", "add_key", "request_key", "unshare", "setns", "chroot", "pivot_root", "mount", "umount2",
    "move_mount", "mount_setattr", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick",
    /* with some requests only */
    "ioctl",
    NULL,
};

static const unsigned long ioctls[] = {
    UFFDIO_POISON,
    SIOCINQ, /* closer.c */
};

static int allow_all_but_denied(scmp_filter_ctx filter)
{
    int r = 0;

    for (int nr = 0; nr < SYSCALLS_END && r == 0; nr++) {
        char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, nr);

        if (name && !g_strv_contains(denied, name))
            r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, nr, 0);
        free(name);
    }
    return r;
}

static int allow_ioctls(scmp_filter_ctx filter)
{
    int r = 0;

    for (guint i = 0; i < G_N_ELEMENTS(ioctls) && r == 0; i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_EQ, ioctls[i]));
    return r;
}

static int fill_and_load(scmp_filter_ctx filter)
{
    int r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);

    if (r == 0)
        r = seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1);
    if (r == 0)
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree: ioctl() is what must be fast */
    if (r == 0)
        r = allow_all_but_denied(filter);
    if (r == 0)
        r = allow_ioctls(filter);
    return r == 0 ? seccomp_load(filter) : r;
}

/**
 * sandbox_enter() - deny this process what the agent does not need to serve
 *
 * To be called when all sockets are open.
 *
 * Return: 0, or a negative errno, and then nothing is denied: the kernel has no seccomp, for one.
 */
int sandbox_enter(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int r;

    if (!filter)
        return -ENOMEM;
    r = fill_and_load(filter); /* sets no_new_privs, too */
    seccomp_release(filter);
    return r;
}
