/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The agent's life: start, reload, end, and doing nothing
 *
 * What it leaves behind, what it finds, whom it makes way for; and what it costs when nothing happens.
 * Wake-ups are counted as context switches of all of its threads over some seconds, during which nothing
 * is asked of it: a thread that is woken and sleeps again has switched, so an agent that sleeps through
 * has the same count before and after.
 */
#include <errno.h>
#include <glib/gstdio.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test-agent.h"
#include "test-ram.h"
#include "test-vmm.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif
#define IDLE_SECONDS 3

static int exit_code(TestAgent *agent)
{
    int status = test_agent_wait_exit(agent);

    g_assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect_log(TestAgent *agent, const char *text)
{
    g_autofree char *log = test_agent_read_log(agent);

    g_test_message("%s", log);
    g_assert_nonnull(strstr(log, text));
}

static void test_sockets(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    GStatBuf st;

    g_assert_no_errno(g_stat(agent->vmm, &st));
    g_assert_cmpint(st.st_mode & 07777, ==, 0660);
    g_assert_no_errno(g_stat(agent->control, &st));
    g_assert_cmpint(st.st_mode & 07777, ==, 0660);
    test_agent_stop(agent); /* also: nothing is left */
}

static void test_second_agent(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    pid_t first = agent->pid;

    test_agent_launch(agent);
    g_assert_cmpint(exit_code(agent), ==, 1);
    expect_log(agent, "another agent runs there");
    agent->pid = first;
    vmm_hello(vmm, "vm1", "");
}

static int listen_at(const char *path, gboolean really)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    g_assert_no_errno(bind(fd, (const struct sockaddr *)&address, sizeof(address)));
    if (really)
        g_assert_no_errno(listen(fd, 1));
    return fd;
}

/* A program that does not know of our lock file listens there. */
static void test_foreign_listener(void)
{
    g_autoptr(TestAgent) agent = test_agent_new(NULL);
    int fd = listen_at(agent->vmm, TRUE);

    test_agent_launch(agent);
    g_assert_cmpint(exit_code(agent), ==, 1);
    expect_log(agent, "another program listens there");
    g_assert_true(g_file_test(agent->vmm, G_FILE_TEST_EXISTS));
    close(fd);
}

static void test_stale_socket(void)
{
    g_autoptr(TestAgent) agent = test_agent_new(NULL);

    close(listen_at(agent->vmm, FALSE));
    test_agent_run(agent);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    vmm_hello(vmm, "vm1", "");
}

static void test_file_in_the_way(void)
{
    g_autoptr(TestAgent) agent = test_agent_new(NULL);
    g_autofree char *content = NULL;

    g_file_set_contents(agent->vmm, "precious", -1, NULL);
    test_agent_launch(agent);
    g_assert_cmpint(exit_code(agent), ==, 1);
    expect_log(agent, "is not a socket");
    g_file_get_contents(agent->vmm, &content, NULL, NULL);
    g_assert_cmpstr(content, ==, "precious");
}

static void test_bad_config(void)
{
    g_autoptr(TestAgent) agent = test_agent_new("[policy]\nmax-pages-per-guest=many\n");

    test_agent_launch(agent);
    g_assert_cmpint(exit_code(agent), ==, 1);
    expect_log(agent, "hwpoisond.conf: [policy] max-pages-per-guest=many: not a number");
    g_assert_false(g_file_test(agent->vmm, G_FILE_TEST_EXISTS));
}

static void expect_begin_error(Vmm *vmm, Ram *ram, const char *code)
{
    g_autoptr(JsonObject) answer = vmm_call(vmm, ram->uffd, "poison-begin", "\"pages\":10");

    vmm_expect_error(answer, code);
}

static void test_reload(void)
{
    g_autoptr(TestAgent) agent = test_agent_start("[policy]\nmax-pages-per-guest=5\n");
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    g_autoptr(Ram) ram = ram_new(RAM_ANONYMOUS, 16);

    vmm_hello(vmm, "vm1", "");
    expect_begin_error(vmm, ram, "policy-pages");
    test_agent_reload(agent, "[policy]\nmax-pages-per-guest=10\n");
    ram_begin(vmm, ram, 10);
    vmm_call_ok(vmm, -1, "poison-end", "%s", "");
    test_agent_reload(agent, "[policy]\nmax-pages-per-quest=3\n"); /* a typo: all stays as it was */
    expect_log(agent, "[policy] max-pages-per-quest: no such setting");
    ram_begin(vmm, ram, 10);
}

static void test_activation(void)
{
    g_autoptr(TestAgent) agent = test_agent_new(NULL);
    int fd = listen_at(agent->vmm, TRUE);

    agent->pid = fork();
    if (agent->pid == 0) {
        g_autofree char *pid = g_strdup_printf("%d", getpid());
        g_autofree char *notify = g_build_filename(agent->dir, "notify", NULL);

        dup2(fd, 3);
        g_setenv("LISTEN_FDS", "1", TRUE);
        g_setenv("LISTEN_PID", pid, TRUE);
        g_setenv("NOTIFY_SOCKET", notify, TRUE);
        execl(g_getenv("HWPOISOND"), "hwpoisond", "--config", agent->config, "--socket", agent->vmm,
              "--control-socket", agent->control, NULL);
        _exit(126);
    }
    test_agent_wait_notify(agent, "READY=1");
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    vmm_hello(vmm, "vm1", "");
    g_assert_no_errno(kill(agent->pid, SIGTERM));
    g_assert_cmpint(exit_code(agent), ==, 0);
    g_assert_true(g_file_test(agent->vmm, G_FILE_TEST_EXISTS)); /* it is systemd's */
    close(fd);
}

/* The watchdog is fed when the unit asks for it; test_idle shows that it is not when it does not. */
static void test_watchdog(void)
{
    g_autoptr(TestAgent) agent = test_agent_new(NULL);

    g_setenv("WATCHDOG_USEC", "200000", TRUE);
    test_agent_run(agent);
    g_unsetenv("WATCHDOG_USEC");
    test_agent_wait_notify(agent, "WATCHDOG=1");
    test_agent_wait_notify(agent, "WATCHDOG=1");
}

/* As nobody, without any capability, for a VMM of another user. */
static void test_unprivileged(void)
{
    g_autoptr(TestAgent) agent = NULL;
    g_autoptr(Ram) ram = ram_new(RAM_ANONYMOUS, 4);

    if (getuid() != 0) {
        g_test_skip("only root can start the agent as another user");
        return;
    }
    agent = test_agent_new(NULL);
    agent->uid = 65534;
    g_assert_no_errno(chown(agent->dir, agent->uid, agent->uid));
    agent->program = test_agent_publish(agent, g_getenv("HWPOISOND"));
    g_assert_no_errno(chmod(agent->config, 0644));
    g_autofree char *notify = g_build_filename(agent->dir, "notify", NULL);
    g_assert_no_errno(chmod(notify, 0666));
    test_agent_run(agent);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    vmm_hello(vmm, "vm1", "");
    ram_poison_second_page(vmm, ram);
}

static GPtrArray *threads_of(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task", (int)pid);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    GPtrArray *threads = g_ptr_array_new_with_free_func(g_free);
    const char *name;

    while ((name = g_dir_read_name(dir)))
        g_ptr_array_add(threads, g_strdup(name));
    return threads;
}

static guint64 number_after(const char *text, const char *label)
{
    const char *p = strstr(text, label);

    return p ? g_ascii_strtoull(p + strlen(label), NULL, 10) : 0;
}

static guint64 context_switches(pid_t pid)
{
    g_autoptr(GPtrArray) threads = threads_of(pid);
    guint64 sum = 0;

    for (guint i = 0; i < threads->len; i++) {
        g_autofree char *path =
            g_strdup_printf("/proc/%d/task/%s/status", (int)pid, (char *)threads->pdata[i]);
        g_autofree char *text = NULL;

        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        sum += number_after(text, "\nvoluntary_ctxt_switches:\t");
        sum += number_after(text, "\nnonvoluntary_ctxt_switches:\t");
    }
    return sum;
}

/* Waits until the threads that were not there before have exited; FALSE where that cannot be seen. */
static gboolean wait_for_workers(pid_t pid, GPtrArray *before)
{
    g_autoptr(GPtrArray) now = threads_of(pid);

    for (guint i = 0; i < now->len; i++) {
        struct pollfd p = { .events = POLLIN };
        int tid = atoi(now->pdata[i]);

        if (g_ptr_array_find_with_equal_func(before, now->pdata[i], g_str_equal, NULL))
            continue;
        p.fd = (int)syscall(SYS_pidfd_open, tid, PIDFD_THREAD);
        if (p.fd < 0 && errno == EINVAL)
            return FALSE;
        g_assert_true(p.fd >= 0 ? poll(&p, 1, DEADLINE_MS) == 1 : errno == ESRCH);
        if (p.fd >= 0)
            close(p.fd);
    }
    return TRUE;
}

static guint64 private_kib(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps_rollup", (int)pid);
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return number_after(text, "Private_Clean:") + number_after(text, "Private_Dirty:") +
           number_after(text, "Private_Hugetlb:");
}

/* One guest that has had ten thousand pages poisoned, and is quiet now. */
static void test_idle(void)
{
    const guint n = 10000;
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    g_autoptr(Ram) ram = ram_new(RAM_ANONYMOUS, 2 * n);
    g_autofree VmmRecord *records = g_new(VmmRecord, n);
    g_autoptr(GPtrArray) before = threads_of(agent->pid);
    guint64 switches, kib;

    for (guint i = 0; i < n; i++)
        records[i] = (VmmRecord){ 2 * i * ram->page, ram->page };
    vmm_hello(vmm, "vm1", "");
    ram_send_layout(vmm, ram, "ram");
    ram_prepare(ram, 0, 2 * n);
    ram_begin(vmm, ram, n);
    json_object_unref(vmm_poison(vmm, "ram", records, n));
    vmm_call_ok(vmm, -1, "poison-end", "%s", "");
    if (!wait_for_workers(agent->pid, before)) {
        g_test_skip("this kernel has no pidfd of threads to wait for");
        return;
    }
    switches = context_switches(agent->pid);
    test_let_time_pass(IDLE_SECONDS);
    g_assert_cmpuint(context_switches(agent->pid), ==, switches);
    kib = private_kib(agent->pid);
    g_test_message("private memory: %" G_GUINT64_FORMAT " KiB", kib);
#ifndef HWPOISOND_SANITIZED
    g_assert_cmpuint(kib, <, 4096);
#endif
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/life/sockets", test_sockets);
    g_test_add_func("/life/second-agent", test_second_agent);
    g_test_add_func("/life/foreign-listener", test_foreign_listener);
    g_test_add_func("/life/stale-socket", test_stale_socket);
    g_test_add_func("/life/file-in-the-way", test_file_in_the_way);
    g_test_add_func("/life/bad-config", test_bad_config);
    g_test_add_func("/life/reload", test_reload);
    g_test_add_func("/life/activation", test_activation);
    g_test_add_func("/life/watchdog", test_watchdog);
    if (ram_kernel_can_poison()) {
        g_test_add_func("/life/unprivileged", test_unprivileged);
        g_test_add_func("/life/idle", test_idle);
    }
    return g_test_run();
}
