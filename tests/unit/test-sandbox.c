/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System calls that the agent denies itself
 *
 * Nothing takes the filter away again, so each test is a child. It first does what is to be denied, to see
 * that the kernel would.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <seccomp.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/sandbox.h"
#include "util/uffd.h"

#define PAGE 4096u

static void run_in_child(void (*func)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        func();
        _exit(0);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(status, ==, 0);
}

static int register_page(int uffd, char *page)
{
    struct uffdio_register arg = { .range = { .start = (guintptr)page, .len = PAGE },
                                   .mode = UFFDIO_REGISTER_MODE_MISSING };

    return ioctl(uffd, UFFDIO_REGISTER, &arg) < 0 ? errno : 0;
}

static int copy_to(int uffd, char *page)
{
    static char content[PAGE];
    struct uffdio_copy arg = { .dst = (guintptr)page, .src = (guintptr)content, .len = PAGE };

    return ioctl(uffd, UFFDIO_COPY, &arg) < 0 ? errno : 0;
}

static int zero(int uffd, char *page)
{
    struct uffdio_zeropage arg = { .range = { .start = (guintptr)page, .len = PAGE } };

    return ioctl(uffd, UFFDIO_ZEROPAGE, &arg) < 0 ? errno : 0;
}

static int poison(int uffd, char *page)
{
    struct uffdio_poison arg = { .range = { .start = (guintptr)page, .len = PAGE } };

    return ioctl(uffd, UFFDIO_POISON, &arg) < 0 ? errno : 0;
}

static int open_uffd(void)
{
    struct uffdio_api api = { .api = UFFD_API };
    int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

    g_assert_no_errno(uffd);
    g_assert_no_errno(ioctl(uffd, UFFDIO_API, &api));
    return uffd;
}

static char *map_pages(guint n)
{
    char *pages = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    g_assert_true(pages != MAP_FAILED);
    madvise(pages, n * PAGE, MADV_NOHUGEPAGE); /* EINVAL: the kernel has none */
    return pages;
}

/* The second page is registered and a hole, the third is not registered. */
static void expect_only_poison(int uffd, char *pages)
{
    g_assert_cmpint(register_page(uffd, pages + 2 * PAGE), ==, EPERM);
    g_assert_cmpint(copy_to(uffd, pages + PAGE), ==, EPERM);
    g_assert_cmpint(zero(uffd, pages + PAGE), ==, EPERM);
}

static void userfaultfd(void)
{
    int uffd = open_uffd(), unread, fds[2];
    char *pages = map_pages(3);

    g_assert_no_errno(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    g_assert_cmpint(register_page(uffd, pages), ==, 0);
    g_assert_cmpint(copy_to(uffd, pages), ==, 0);
    g_assert_cmpint(register_page(uffd, pages + PAGE), ==, 0);
    g_assert_cmpint(sandbox_enter(), ==, 0);
    expect_only_poison(uffd, pages);
    g_assert_cmpint(poison(uffd, pages + PAGE), ==, 0);
    g_assert_no_errno(ioctl(fds[0], SIOCINQ, &unread));
}

static struct {
    int uffd;
    char *pages;
    sem_t go;
} shared;

static void *try_when_told(void *arg)
{
    while (sem_wait(&shared.go) < 0)
        continue;
    expect_only_poison(shared.uffd, shared.pages);
    return NULL;
}

/* A thread that was there before, and one that comes later. */
static void threads(void)
{
    pthread_t before, after;

    shared.uffd = open_uffd();
    shared.pages = map_pages(3);
    g_assert_cmpint(register_page(shared.uffd, shared.pages + PAGE), ==, 0);
    g_assert_no_errno(sem_init(&shared.go, 0, 0));
    g_assert_cmpint(pthread_create(&before, NULL, try_when_told, NULL), ==, 0);
    g_assert_cmpint(sandbox_enter(), ==, 0);
    g_assert_no_errno(sem_post(&shared.go));
    g_assert_cmpint(pthread_join(before, NULL), ==, 0);
    g_assert_no_errno(sem_post(&shared.go));
    g_assert_cmpint(pthread_create(&after, NULL, try_when_told, NULL), ==, 0);
    g_assert_cmpint(pthread_join(after, NULL), ==, 0);
}

/* Calls that fail for another reason, with these arguments, where they are not denied. */
static const struct {
    long nr, args[3];
} calls[] = {
    { SYS_sendmsg, { -1 } },
    { SYS_sendmmsg, { -1, 0, 1 } },
    { SYS_socket, { -1 } },
    { SYS_connect, { -1 } },
    { SYS_execve, { 0 } },
    { SYS_execveat, { -1 } },
    { SYS_process_vm_readv, { -1, 0, 1 } },
    { SYS_process_vm_writev, { -1, 0, 1 } },
    { SYS_unshare, { -1 } },
    { SYS_setns, { -1 } },
#ifndef __SANITIZE_ADDRESS__
    { SYS_ptrace, { -1, -1 } },
#endif
};

static int errno_of(guint i)
{
    const long *args = calls[i].args;

    errno = 0;
    g_assert_cmpint(syscall(calls[i].nr, args[0], args[1], args[2], 0, 0, 0), ==, -1);
    return errno;
}

static void others(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(calls); i++)
        g_assert_cmpint(errno_of(i), !=, EPERM);
    g_assert_cmpint(sandbox_enter(), ==, 0);
    for (guint i = 0; i < G_N_ELEMENTS(calls); i++)
        g_assert_cmpint(errno_of(i), ==, EPERM);
    g_assert_cmpint(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), ==, 1);
}

/* As on a kernel that has no seccomp. */
static void without_seccomp(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

    g_assert_cmpint(seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(seccomp), 0), ==, 0);
    g_assert_cmpint(seccomp_load(filter), ==, 0);
    seccomp_release(filter);
    seccomp_reset(NULL, SCMP_ACT_ALLOW); /* libseccomp asks the kernel once */
    g_assert_cmpint(sandbox_enter(), <, 0);
    g_assert_cmpint(errno_of(0), ==, EBADF);
}

static void test_userfaultfd(void)
{
    if (uffd_kernel_can_poison())
        run_in_child(userfaultfd);
    else
        g_test_skip("this kernel has no UFFDIO_POISON");
}

static void test_threads(void)
{
    run_in_child(threads);
}

static void test_others(void)
{
    run_in_child(others);
}

static void test_without_seccomp(void)
{
    run_in_child(without_seccomp);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0) {
        g_print("1..0 # SKIP this kernel has no seccomp\n");
        return 0;
    }
    g_test_add_func("/sandbox/userfaultfd", test_userfaultfd);
    g_test_add_func("/sandbox/threads", test_threads);
    g_test_add_func("/sandbox/others", test_others);
    g_test_add_func("/sandbox/without-seccomp", test_without_seccomp);
    return g_test_run();
}
