/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The agent with its filter of system calls, and without
 *
 * The filter itself is tested in tests/unit; here is that the agent has it, in each thread, that it starts
 * where the kernel has none, and that its log gets to the journal all the same.
 */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test-agent.h"
#include "test-ram.h"
#include "test-vmm.h"

#define JOURNAL "/run/systemd/journal"
#define CANNOT  77

/* With a worker that has just been used, if it is still there. */
static void test_threads(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    g_autoptr(Ram) ram = ram_new(RAM_ANONYMOUS, 4);

    vmm_hello(vmm, "vm1", "");
    if (ram_kernel_can_poison())
        ram_poison_second_page(vmm, ram);
    test_agent_expect_filtered(agent);
}

static void expect_in_log(TestAgent *agent, const char *text)
{
    g_autofree char *log = test_agent_read_log(agent);

    g_test_message("%s", log);
    g_assert_nonnull(strstr(log, text));
}

/* What is left is a process for which the kernel has no seccomp(). */
static void serve_without_seccomp(gpointer data)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    g_autoptr(TestAgent) agent = NULL;
    g_autoptr(Vmm) vmm = NULL;

    g_assert_cmpint(seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(seccomp), 0), ==, 0);
    g_assert_cmpint(seccomp_load(filter), ==, 0);
    seccomp_release(filter);
    agent = test_agent_start(NULL);
    expect_in_log(agent, "warning: system calls are not filtered (seccomp: ");
    vmm = vmm_connect(agent->vmm);
    vmm_hello(vmm, "vm1", "");
}

static void test_no_seccomp(void)
{
    g_assert_cmpint(test_wait(test_fork(serve_without_seccomp, NULL)), ==, 0);
}

static int socket_at(int type, const char *path, int (*func)(int, const struct sockaddr *, socklen_t))
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    g_assert_no_errno(fd);
    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    g_assert_no_errno(func(fd, (const struct sockaddr *)&address, sizeof(address)));
    return fd;
}

/* Is this field, in the journal's own form, in the next entry? */
static gboolean next_entry_has(int journal, const char *key, const char *value)
{
    const struct timeval limit = { .tv_sec = DEADLINE_MS / 1000 };
    g_autoptr(GString) field = g_string_new(key);
    guint64 le = GUINT64_TO_LE((guint64)strlen(value));
    char entry[4096];
    ssize_t n;

    g_assert_no_errno(setsockopt(journal, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
    n = recv(journal, entry, sizeof(entry), 0);
    g_assert_no_errno(n);
    g_string_append_c(field, '\n');
    g_string_append_len(field, (const char *)&le, sizeof(le));
    g_string_append_printf(field, "%s\n", value);
    return memmem(entry, (gsize)n, field->str, field->len) != NULL;
}

/* In a mount namespace with an empty /run, this process is the journal. */
static void be_the_journal(gpointer data)
{
    g_autofree char *message =
        g_strdup_printf("guest 'vm1' (pid %d): connected: test-vmm 1, uuid ''", getpid());
    g_autoptr(TestAgent) agent = NULL;
    g_autoptr(Vmm) vmm = NULL;
    int streams, journal;

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0)
        _exit(CANNOT);
    g_assert_no_errno(g_mkdir_with_parents(JOURNAL, 0755));
    streams = socket_at(SOCK_STREAM, JOURNAL "/stdout", bind);
    g_assert_no_errno(listen(streams, 1));
    journal = socket_at(SOCK_DGRAM, JOURNAL "/socket", bind);
    agent = test_agent_new(NULL);
    agent->stderr_fd = socket_at(SOCK_STREAM, JOURNAL "/stdout", connect);
    test_agent_run(agent);
    g_assert_true(next_entry_has(journal, "PRIORITY", "6"));
    vmm = vmm_connect(agent->vmm);
    vmm_hello(vmm, "vm1", "");
    g_assert_true(next_entry_has(journal, "MESSAGE", message));
}

static void test_journal(void)
{
    int status = test_wait(test_fork(be_the_journal, NULL));

    if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT)
        g_test_skip("this user cannot make a mount namespace");
    else
        g_assert_cmpint(status, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0) {
        g_print("1..0 # SKIP this kernel has no seccomp\n");
        return 0;
    }
    g_test_add_func("/sandbox/threads", test_threads);
    g_test_add_func("/sandbox/no-seccomp", test_no_seccomp);
    g_test_add_func("/sandbox/journal", test_journal);
    return g_test_run();
}
