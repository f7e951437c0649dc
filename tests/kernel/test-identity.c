/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who is who
 *
 * Several VMM processes and connections at one agent: whose identity it is, what a second connection of
 * the same process does, what happens to the identity of a process that exited, and the limits.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "test-agent.h"
#include "test-ram.h"
#include "test-vmm.h"

#define UUID  "0d2b3b1e-3bd0-4a3e-8a65-7d4c0d6c2f10"
#define UUID2 "1d2b3b1e-3bd0-4a3e-8a65-7d4c0d6c2f11"

/* What a second process says in its hello, and what it is to get. */
typedef struct {
    const char *path, *name, *uuid, *error;
    int parent; /* end of a socket pair for appointments with the parent, or -1 */
} Claim;

static JsonObject *say_hello(Vmm *vmm, const char *name, const char *uuid)
{
    return vmm_call(vmm, -1, "hello", "\"version\":1,\"vmm\":\"v\",\"vmm_version\":\"1\",\"name\":\"%s\",\"uuid\":\"%s\"",
                    name, uuid);
}

static void claim(gpointer data)
{
    const Claim *c = data;
    g_autoptr(Vmm) vmm = vmm_connect(c->path);
    g_autoptr(JsonObject) answer = NULL;

    if (!c->error) {
        vmm_hello(vmm, c->name, c->uuid);
        return;
    }
    answer = say_hello(vmm, c->name, c->uuid);
    vmm_expect_error(answer, c->error);
    vmm_expect_eof(vmm);
}

static void expect_claim(const char *path, const char *name, const char *uuid, const char *error)
{
    Claim c = { path, name, uuid, error, -1 };

    g_assert_cmpint(test_wait(test_fork(claim, &c)), ==, 0);
}

static void test_in_use(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);

    vmm_hello(vmm, "vm1", UUID);
    expect_claim(agent->vmm, "vm1", "", "identity-in-use");
    expect_claim(agent->vmm, "vm1", UUID2, "identity-in-use");
    expect_claim(agent->vmm, "vm2", UUID, "identity-in-use");
    expect_claim(agent->vmm, "", "0D2B3B1E-3BD0-4A3E-8A65-7D4C0D6C2F10", "identity-in-use");
    expect_claim(agent->vmm, "vm2", UUID2, NULL);
    expect_claim(agent->vmm, "", "", NULL);
    vmm_call_ok(vmm, -1, "layout", "\"blocks\":[]"); /* undisturbed */
}

/* A UUID of zeros is none: two guests may have it. */
static void test_nil_uuid(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);

    vmm_hello(vmm, "vm1", "00000000-0000-0000-0000-000000000000");
    expect_claim(agent->vmm, "vm2", "00000000-0000-0000-0000-000000000000", NULL);
}

static void test_same_process(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) first = vmm_connect(agent->vmm), second = vmm_connect(agent->vmm);

    vmm_hello(first, "vm1", UUID);
    vmm_hello(second, "vm1", UUID);
    vmm_expect_eof(first);
    vmm_call_ok(second, -1, "layout", "\"blocks\":[]");
}

/* Twice hello on one connection is an error, and changes nothing. */
static void test_hello_twice(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    g_autoptr(JsonObject) answer = NULL;

    vmm_hello(vmm, "vm1", UUID);
    answer = say_hello(vmm, "vm2", UUID2);
    vmm_expect_error(answer, "bad-state");
    expect_claim(agent->vmm, "vm2", UUID2, NULL);
    expect_claim(agent->vmm, "vm1", "", "identity-in-use");
}

static void hello_and_leave_socket_to_parent(gpointer data)
{
    Claim *c = data;
    g_autoptr(Vmm) vmm = vmm_connect(c->path);
    struct iovec iov = { .iov_base = (char *)"x", .iov_len = 1 };
    char control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
                          .msg_controllen = sizeof(control) };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

    vmm_hello(vmm, c->name, c->uuid);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &vmm->fd, sizeof(int));
    g_assert_cmpint(sendmsg(c->parent, &msg, 0), ==, 1);
}

/* The VMM exits, but its connection stays open elsewhere: the dead do not hold an identity. */
static void test_dead_owner(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    Claim c = { agent->vmm, "vm1", UUID, NULL, -1 };
    int pair[2];

    g_assert_no_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    c.parent = pair[1];
    /* The descriptor stays in flight in pair[0]: the child's connection is open without a process. */
    g_assert_cmpint(test_wait(test_fork(hello_and_leave_socket_to_parent, &c)), ==, 0);
    vmm_hello(vmm, "vm1", UUID);
    close(pair[0]);
    close(pair[1]);
}

static void test_limits(void)
{
    g_autoptr(TestAgent) agent =
        test_agent_start("[vmm]\nmax-connections=3\nmax-connections-per-process=2\n");
    g_autoptr(Vmm) a = vmm_connect(agent->vmm), b = vmm_connect(agent->vmm), c = vmm_connect(agent->vmm);
    g_autoptr(JsonObject) answer = vmm_receive(c);

    vmm_expect_error(answer, "internal");
    vmm_expect_eof(c);
    vmm_hello(a, "vm1", "");
    expect_claim(agent->vmm, "vm2", "", NULL); /* another process still may */
    vmm_hello(b, "vm1", "");
    vmm_expect_eof(a); /* replaced: this makes room */
    g_autoptr(Vmm) d = vmm_connect(agent->vmm);
    vmm_hello(d, "vm1", "");
}

static void expect_turned_away(gpointer path)
{
    g_autoptr(Vmm) vmm = vmm_connect(path);
    g_autoptr(JsonObject) answer = vmm_receive(vmm);

    vmm_expect_error(answer, "internal");
    g_assert_nonnull(strstr(json_object_get_string_member(answer, "message"), "cgroup"));
    vmm_expect_eof(vmm);
}

/* The processes of one guest have no more than its cgroup may have, however many they are. */
static void test_limit_of_cgroup(void)
{
    g_autoptr(TestAgent) agent = test_agent_start("[vmm]\nmax-connections-per-cgroup=2\n");
    Vmm *first = vmm_connect(agent->vmm), *second = vmm_connect(agent->vmm);

    vmm_hello(first, "vm1", "");
    g_assert_cmpint(test_wait(test_fork(expect_turned_away, agent->vmm)), ==, 0);
    vmm_close(first);
    vmm_hello(second, "vm1", ""); /* after this, the agent has seen the other one go */
    expect_claim(agent->vmm, "vm2", "", NULL);
    vmm_close(second);
}

static guint64 cpu_ticks(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid);
    g_autofree char *text = NULL;
    unsigned long user, system;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpint(sscanf(strrchr(text, ')'), ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system),
                    ==, 2);
    return user + system;
}

/*
 * The agent may have descriptors for two connections only. It says so to the others and does not spin, and
 * when there is room, the next one is served.
 */
static void test_out_of_descriptors(void)
{
    g_autoptr(TestAgent) agent = test_agent_new("[vmm]\nmax-connections-per-process=100\n");
    Vmm *first, *second;
    guint64 ticks;

    agent->nofile = 56;
    test_agent_run(agent);
    first = vmm_connect(agent->vmm);
    second = vmm_connect(agent->vmm);
    for (guint i = 0; i < 20; i++) {
        g_autoptr(Vmm) more = vmm_connect(agent->vmm);
        g_autoptr(JsonObject) answer = vmm_receive(more);

        vmm_expect_error(answer, "internal");
        vmm_expect_eof(more);
    }
    ticks = cpu_ticks(agent->pid);
    test_let_time_pass(2);
    g_assert_cmpuint(cpu_ticks(agent->pid) - ticks, <, (guint64)sysconf(_SC_CLK_TCK) / 10);
    vmm_close(first);
    vmm_hello(second, "vm1", ""); /* after this, the agent has seen the other one go */
    expect_claim(agent->vmm, "vm2", "", NULL);
    vmm_close(second);
}

typedef struct {
    const char *path;
    int fd;
} Shared;

static void connect_shared(gpointer data)
{
    const Shared *shared = data;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    Vmm vmm = { .fd = shared->fd };

    g_strlcpy(address.sun_path, shared->path, sizeof(address.sun_path));
    g_assert_no_errno(connect(shared->fd, (const struct sockaddr *)&address, sizeof(address)));
    vmm_hello(&vmm, "", "");
}

/* Connections of processes that have exited, held open by another one, do not keep anybody out. */
static void test_dead_hold_nothing(void)
{
    g_autoptr(TestAgent) agent = test_agent_start("[vmm]\nmax-connections=2\n");
    int fds[2];

    for (guint i = 0; i < G_N_ELEMENTS(fds); i++) {
        Shared shared = { .path = agent->vmm, .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) };

        fds[i] = shared.fd;
        g_assert_no_errno(shared.fd);
        g_assert_cmpint(test_wait(test_fork(connect_shared, &shared)), ==, 0);
    }
    expect_claim(agent->vmm, "vm1", "", NULL);
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
        close(fds[i]);
}

/* A name cannot end early in a line of the log, and go on as if the line were another guest's. */
static void test_quoted_name(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    g_autofree char *log = NULL;

    vmm_hello(vmm, "vm2' (pid 4242): x", "");
    log = test_agent_read_log(agent);
    g_assert_nonnull(strstr(log, "guest 'vm2\\x27 (pid 4242): x' (pid "));
    g_assert_null(strstr(log, "guest 'vm2'"));
}

/* Takes its ten seconds: the deadline is part of the contract. */
static void test_silent(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) silent = vmm_connect(agent->vmm), other = vmm_connect(agent->vmm);
    gint64 start = g_get_monotonic_time();

    vmm_hello(other, "vm1", "");
    vmm_expect_eof(silent);
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 9 * G_USEC_PER_SEC);
    vmm_call_ok(other, -1, "layout", "\"blocks\":[]");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/identity/in-use", test_in_use);
    g_test_add_func("/identity/nil-uuid", test_nil_uuid);
    g_test_add_func("/identity/same-process", test_same_process);
    g_test_add_func("/identity/hello-twice", test_hello_twice);
    g_test_add_func("/identity/dead-owner", test_dead_owner);
    g_test_add_func("/identity/limits", test_limits);
    g_test_add_func("/identity/limit-of-cgroup", test_limit_of_cgroup);
    g_test_add_func("/identity/out-of-descriptors", test_out_of_descriptors);
    g_test_add_func("/identity/dead-hold-nothing", test_dead_hold_nothing);
    g_test_add_func("/identity/quoted-name", test_quoted_name);
    g_test_add_func("/identity/silent", test_silent);
    return g_test_run();
}
