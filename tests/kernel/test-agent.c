/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The agent under test
 *
 * Each test runs its own hwpoisond, the real program, in a temporary directory. It is ready when it says
 * so through sd_notify(), which also is how its reloading and stopping are observed: events with a
 * deadline, no waiting by guess. Should a test die, its agent dies with it.
 *
 * The programs are named by the environment variables HWPOISOND and HWPOISONCTL.
 */
#include "test-agent.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test-vmm.h"

static int open_notify_socket(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    g_assert_no_errno(fd);
    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    g_assert_no_errno(bind(fd, (const struct sockaddr *)&address, sizeof(address)));
    return fd;
}

/* A place for an agent that is not started yet. */
TestAgent *test_agent_new(const char *config)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *notify = NULL;
    TestAgent *agent = g_new0(TestAgent, 1);

    agent->dir = g_dir_make_tmp("hwpoisond-XXXXXX", &error);
    g_assert_no_error(error);
    agent->vmm = g_build_filename(agent->dir, "vmm.sock", NULL);
    agent->control = g_build_filename(agent->dir, "control.sock", NULL);
    agent->config = g_build_filename(agent->dir, "hwpoisond.conf", NULL);
    agent->log = g_build_filename(agent->dir, "log", NULL);
    notify = g_build_filename(agent->dir, "notify", NULL);
    agent->notify = open_notify_socket(notify);
    g_file_set_contents(agent->config, config ? config : "", -1, &error);
    g_assert_no_error(error);
    return agent;
}

/* Starts the program and does not wait. What needs memory is done before the fork. */
void test_agent_launch(TestAgent *agent)
{
    g_autofree char *notify = g_build_filename(agent->dir, "notify", NULL);
    g_auto(GStrv) env = g_environ_setenv(g_get_environ(), "NOTIFY_SOCKET", notify, TRUE);
    const char *argv[] = { "hwpoisond", "--config", agent->config, "--socket", agent->vmm,
                           "--control-socket", agent->control, NULL };
    const char *program = agent->program ? agent->program : g_getenv("HWPOISOND");
    const struct rlimit nofile = { agent->nofile, agent->nofile };
    int log = open(agent->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    g_assert_no_errno(log);
    agent->pid = fork();
    g_assert_no_errno(agent->pid);
    if (agent->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(agent->stderr_fd > 0 ? agent->stderr_fd : log, STDERR_FILENO);
        if (agent->nofile != 0 && setrlimit(RLIMIT_NOFILE, &nofile) < 0)
            _exit(124);
        if (agent->uid != 0 && (setgroups(0, NULL) < 0 || setgid(agent->uid) < 0 || setuid(agent->uid) < 0))
            _exit(125);
        execve(program, (char **)argv, env);
        _exit(126);
    }
    close(log);
}

void test_agent_wait_notify(TestAgent *agent, const char *wanted)
{
    gboolean seen = FALSE;

    while (!seen) {
        struct pollfd p = { .fd = agent->notify, .events = POLLIN };
        char message[1024];
        ssize_t n;

        g_assert_cmpint(poll(&p, 1, DEADLINE_MS), ==, 1);
        n = recv(agent->notify, message, sizeof(message) - 1, 0);
        g_assert_no_errno(n);
        message[n] = '\0';
        seen = g_str_has_prefix(message, wanted);
    }
}

void test_agent_run(TestAgent *agent)
{
    test_agent_launch(agent);
    test_agent_wait_notify(agent, "READY=1");
}

TestAgent *test_agent_start(const char *config)
{
    TestAgent *agent = test_agent_new(config);

    test_agent_run(agent);
    return agent;
}

/* Waits for a child with a deadline; returns its wait status. */
int test_wait(pid_t pid)
{
    struct pollfd p = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
    int status;

    g_assert_no_errno(p.fd);
    g_assert_cmpint(poll(&p, 1, DEADLINE_MS), ==, 1);
    close(p.fd);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    return status;
}

int test_agent_wait_exit(TestAgent *agent)
{
    int status = test_wait(agent->pid);

    agent->pid = 0;
    return status;
}

void test_agent_reload(TestAgent *agent, const char *config)
{
    g_assert_true(g_file_set_contents(agent->config, config, -1, NULL));
    g_assert_no_errno(kill(agent->pid, SIGHUP));
    test_agent_wait_notify(agent, "RELOADING=1\nMONOTONIC_USEC=");
    test_agent_wait_notify(agent, "READY=1");
}

/* Orderly end: status 0, and nothing of it is left. */
void test_agent_stop(TestAgent *agent)
{
    g_autofree char *lock = g_strconcat(agent->vmm, ".lock", NULL);
    int status;

    g_assert_no_errno(kill(agent->pid, SIGTERM));
    status = test_agent_wait_exit(agent);
    if (status != 0) {
        g_autofree char *log = test_agent_read_log(agent);

        g_test_message("%s", log);
    }
    g_assert_cmpint(status, ==, 0);
    g_assert_false(g_file_test(agent->vmm, G_FILE_TEST_EXISTS));
    g_assert_false(g_file_test(agent->control, G_FILE_TEST_EXISTS));
    g_assert_false(g_file_test(lock, G_FILE_TEST_EXISTS));
}

static void remove_directory(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        g_unlink(file);
    }
    g_rmdir(path);
}

void test_agent_free(TestAgent *agent)
{
    if (agent->pid > 0)
        test_agent_stop(agent);
    close(agent->notify);
    remove_directory(agent->dir);
    g_free(agent->dir);
    g_free(agent->vmm);
    g_free(agent->control);
    g_free(agent->config);
    g_free(agent->log);
    g_free(agent->program);
    g_free(agent);
}

char *test_agent_read_log(TestAgent *agent)
{
    g_autoptr(GError) error = NULL;
    char *text;

    g_file_get_contents(agent->log, &text, NULL, &error);
    g_assert_no_error(error);
    return text;
}

/* Each thread of the agent has its filter of system calls. */
void test_agent_expect_filtered(TestAgent *agent)
{
    g_autofree char *tasks = g_strdup_printf("/proc/%d/task", (int)agent->pid);
    g_autoptr(GDir) dir = g_dir_open(tasks, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(tasks, name, "status", NULL);
        g_autofree char *status = NULL;

        if (!g_file_get_contents(path, &status, NULL, NULL))
            continue; /* a worker that has ended */
        g_assert_nonnull(strstr(status, "\nNoNewPrivs:\t1\n"));
        g_assert_nonnull(strstr(status, "\nSeccomp:\t2\n"));
    }
}

/* Runs hwpoisonctl; returns what it printed, on stderr too. */
char *test_agent_ctl(TestAgent *agent, int *ret_status, ...)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autoptr(GError) error = NULL;
    char *out = NULL, *err = NULL;
    g_autofree char *text = NULL;
    va_list args;
    char *arg;

    g_ptr_array_add(argv, (char *)g_getenv("HWPOISONCTL"));
    g_ptr_array_add(argv, (char *)"--socket");
    g_ptr_array_add(argv, agent->control);
    va_start(args, ret_status);
    while ((arg = va_arg(args, char *)))
        g_ptr_array_add(argv, arg);
    va_end(args);
    g_ptr_array_add(argv, NULL);
    g_spawn_sync(NULL, (char **)argv->pdata, NULL, G_SPAWN_DEFAULT, NULL, NULL, &out, &err, ret_status, &error);
    g_assert_no_error(error);
    text = g_strconcat(out, err, NULL);
    g_free(out);
    g_free(err);
    return g_steal_pointer(&text);
}

char *test_agent_publish(TestAgent *agent, const char *program)
{
    g_autofree char *name = g_path_get_basename(program);
    g_autofree char *copy = g_build_filename(agent->dir, name, NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *content = NULL;
    gsize size;

    g_file_get_contents(program, &content, &size, &error);
    g_assert_no_error(error);
    g_file_set_contents(copy, content, (gssize)size, &error);
    g_assert_no_error(error);
    g_assert_no_errno(chmod(copy, 0755));
    g_assert_no_errno(chmod(agent->dir, 0755));
    return g_steal_pointer(&copy);
}

pid_t test_fork(void (*func)(gpointer data), gpointer data)
{
    pid_t pid = fork();

    g_assert_no_errno(pid);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        func(data);
        _exit(0);
    }
    return pid;
}

/* For measurements of what happens in a time, never to wait for something. */
void test_let_time_pass(time_t seconds)
{
    struct itimerspec window = { .it_value = { .tv_sec = seconds } };
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    guint64 expirations;

    g_assert_no_errno(timerfd_settime(timer, 0, &window, NULL));
    g_assert_cmpint(read(timer, &expirations, sizeof(expirations)), ==, sizeof(expirations));
    close(timer);
}
