/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One VMM stalls, the others are served
 *
 * A VMM can make its own address space unusable for UFFDIO_POISON: with a userfaultfd that asks for
 * events, a thread that discards memory stays in the middle of that until somebody reads the event, and
 * so long every UFFDIO_POISON answers EAGAIN. Here nobody reads it. The request of such a VMM hangs in
 * its worker, while another VMM gets all of its answers; it ends with EAGAIN when the agent's patience is
 * over. The same state serves to end the agent, and the VMM, in the middle of a request.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test-agent.h"
#include "test-ram.h"
#include "test-vmm.h"

typedef struct {
    Vmm *vmm;
    Ram *ram;
    GThread *thread;
} Stalled;

static gpointer discard(gpointer data)
{
    Ram *ram = data;

    madvise(ram->address, ram->page, MADV_DONTNEED);
    return NULL;
}

/* After this, UFFDIO_POISON on the RAM answers EAGAIN until the event is read. */
static void stall(Stalled *s)
{
    struct pollfd p = { .fd = s->ram->uffd, .events = POLLIN };

    s->thread = g_thread_new("discard", discard, s->ram);
    g_assert_cmpint(poll(&p, 1, DEADLINE_MS), ==, 1); /* the event is there: the thread is in it */
}

static void unstall(Stalled *s)
{
    char event[64];

    g_assert_cmpint(read(s->ram->uffd, event, sizeof(event)), >, 0);
    g_thread_join(s->thread);
    ram_free(s->ram);
    vmm_close(s->vmm);
}

static Stalled stalled_vmm(const char *path, const char *name)
{
    Stalled s = { .vmm = vmm_connect(path), .ram = ram_new(RAM_ANONYMOUS, 4) };

    vmm_hello(s.vmm, name, "");
    ram_send_layout(s.vmm, s.ram, "ram");
    ram_prepare(s.ram, 0, 4);
    ram_begin(s.vmm, s.ram, 1);
    stall(&s);
    vmm_request_poison(s.vmm, "ram", &(VmmRecord){ 0, s.ram->page }, 1);
    return s;
}

/* A VMM process that does as it should; it begins to poison when it is told to. */
typedef struct {
    const char *path;
    int go; /* a byte comes when it may begin, and goes back when it has begun to wait and when done */
} Honest;

static void appointment(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    char byte;

    g_assert_cmpint(poll(&p, 1, DEADLINE_MS), ==, 1);
    g_assert_cmpint(read(fd, &byte, 1), ==, 1);
}

static void signal_other(int fd)
{
    g_assert_cmpint(write(fd, "x", 1), ==, 1);
}

static void honest_vmm(gpointer data)
{
    const Honest *h = data;
    g_autoptr(Vmm) vmm = vmm_connect(h->path);
    g_autoptr(Ram) ram = ram_new(RAM_ANONYMOUS, 4);

    vmm_hello(vmm, "honest", "");
    ram_send_layout(vmm, ram, "ram");
    ram_prepare(ram, 0, 4);
    ram_begin(vmm, ram, 4);
    signal_other(h->go);
    appointment(h->go);
    for (gsize page = 0; page < 4; page++) {
        g_autoptr(JsonObject) answer = vmm_poison(vmm, "ram", &(VmmRecord){ page * ram->page, ram->page }, 1);

        g_assert_cmpint(json_object_get_int_member(answer, "failed_count"), ==, 0);
    }
    vmm_call_ok(vmm, -1, "poison-end", "%s", "");
    signal_other(h->go);
}

static pid_t start_honest(TestAgent *agent, int *ret_go)
{
    Honest h = { .path = agent->vmm };
    int pair[2];
    pid_t pid;

    g_assert_no_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    h.go = pair[1];
    pid = test_fork(honest_vmm, &h);
    close(pair[1]);
    *ret_go = pair[0];
    appointment(pair[0]);
    return pid;
}

static void serve_honest(TestAgent *agent)
{
    int go;
    pid_t pid = start_honest(agent, &go);

    signal_other(go);
    g_assert_cmpint(test_wait(pid), ==, 0);
    close(go);
}

/* The answer to the request of a stalled VMM. */
static void expect_eagain(Vmm *vmm)
{
    g_autoptr(JsonObject) answer = vmm_receive(vmm);
    JsonObject *entry;

    g_assert_cmpint(json_object_get_int_member(answer, "failed_count"), ==, 1);
    entry = json_array_get_object_element(json_object_get_array_member(answer, "failed"), 0);
    g_assert_cmpstr(json_object_get_string_member(entry, "error"), ==, "EAGAIN");
}

static void test_worker_hangs(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    int go;
    pid_t honest = start_honest(agent, &go);
    Stalled s = stalled_vmm(agent->vmm, "stalled");

    signal_other(go);
    appointment(go);
    g_assert_false(vmm_has_answer(s.vmm));
    g_assert_cmpint(test_wait(honest), ==, 0);
    close(go);
    expect_eagain(s.vmm);
    vmm_call_ok(s.vmm, -1, "poison-end", "%s", "");
    unstall(&s);
}

/* Who has a connection keeps his worker, though fewer are allowed now. */
static void test_fewer_while_busy(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    int go;
    pid_t honest = start_honest(agent, &go);
    Stalled s = stalled_vmm(agent->vmm, "stalled");

    test_agent_reload(agent, "[vmm]\nmax-connections=1\n");
    signal_other(go);
    appointment(go);
    g_assert_false(vmm_has_answer(s.vmm));
    g_assert_cmpint(test_wait(honest), ==, 0);
    close(go);
    expect_eagain(s.vmm);
    unstall(&s);
}

/* A new connection takes over while the worker still has the old one. */
static void test_replaced_while_busy(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    Stalled s = stalled_vmm(agent->vmm, "stalled");
    g_autoptr(Vmm) again = vmm_connect(agent->vmm);

    vmm_hello(again, "stalled", "");
    vmm_expect_eof(s.vmm);
    vmm_call_ok(again, -1, "layout", "\"blocks\":[]");
    serve_honest(agent);
    unstall(&s);
}

static void test_disconnected_while_busy(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    Stalled s = stalled_vmm(agent->vmm, "stalled");

    g_assert_no_errno(shutdown(s.vmm->fd, SHUT_RDWR));
    serve_honest(agent);
    unstall(&s);
}

/* SIGTERM in the middle of a request: it is still answered, and the agent ends in order. */
static void test_terminate_while_busy(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    Stalled s = stalled_vmm(agent->vmm, "stalled");

    test_agent_stop(agent);
    expect_eagain(s.vmm);
    vmm_expect_eof(s.vmm);
    unstall(&s);
}

/* Killed in the middle of a request: the VMM notices, and a new agent takes over the stale sockets. */
static void test_killed_while_busy(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    Stalled s = stalled_vmm(agent->vmm, "stalled");

    g_assert_no_errno(kill(agent->pid, SIGKILL));
    test_agent_wait_exit(agent);
    vmm_expect_eof(s.vmm);
    g_assert_true(g_file_test(agent->vmm, G_FILE_TEST_EXISTS));
    test_agent_run(agent);
    serve_honest(agent);
    unstall(&s);
}

/* A VMM process among many: names itself after its process, and poisons every second of its pages. */
static void one_of_many(gpointer data)
{
    g_autofree char *name = g_strdup_printf("vm%d", (int)getpid());
    g_autoptr(Vmm) vmm = vmm_connect(data);
    g_autoptr(Ram) ram = ram_new(RAM_ANONYMOUS, 64);

    vmm_hello(vmm, name, "");
    ram_send_layout(vmm, ram, "ram");
    ram_prepare(ram, 0, 64);
    ram_begin(vmm, ram, 32);
    for (gsize page = 0; page < 64; page += 2) {
        g_autoptr(JsonObject) answer = vmm_poison(vmm, "ram", &(VmmRecord){ page * ram->page, ram->page }, 1);

        g_assert_cmpint(json_object_get_int_member(answer, "failed_count"), ==, 0);
    }
    vmm_call_ok(vmm, -1, "poison-end", "%s", "");
    ram_release(ram, 0, 64);
    for (gsize page = 0; page < 64; page++)
        g_assert_cmpint(ram_is_poisoned(ram, page), ==, page % 2 == 0);
}

static void test_many(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autofree char *status = NULL;
    pid_t pids[40];
    int code;

    for (guint i = 0; i < G_N_ELEMENTS(pids); i++)
        pids[i] = test_fork(one_of_many, agent->vmm);
    for (guint i = 0; i < G_N_ELEMENTS(pids); i++)
        g_assert_cmpint(test_wait(pids[i]), ==, 0);
    status = test_agent_ctl(agent, &code, "status", NULL);
    g_assert_nonnull(strstr(status, "pages poisoned   1280\n"));
    g_assert_nonnull(strstr(status, "refused          0\n"));
}

/* A VMM that sends and never reads is disconnected, and holds nobody up meanwhile. */
static void test_never_reads(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    const struct timeval limit = { .tv_sec = DEADLINE_MS / 1000 };
    guint sent = 0;

    g_assert_no_errno(setsockopt(vmm->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)));
    vmm_hello(vmm, "never-reads", ""); /* or the deadline of hello would end it */
    while (vmm_try_send(vmm, "{\"type\":\"no-such-request\",\"id\":1}"))
        g_assert_cmpuint(++sent, <, 100000);
    g_assert_true(errno == EPIPE || errno == ECONNRESET);
    g_test_message("disconnected after %u requests", sent);
    serve_honest(agent);
}

static guint count_lines(const char *text)
{
    guint n = 0;

    for (const char *p = text; (p = strchr(p, '\n')); p++)
        n++;
    return n;
}

/*
 * Ten thousand refusals are a few lines in the log, on one connection and on many: 200 at once and 300 a
 * minute, each perhaps with a line about those before it that were left out.
 */
static void test_log_is_bounded(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    gint64 start = g_get_monotonic_time();
    g_autofree char *log = NULL;
    guint minutes;

    for (guint i = 0; i < 100; i++) {
        g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);

        for (guint j = 0; j < 100; j++) {
            g_autoptr(JsonObject) answer = vmm_call(vmm, -1, "no\\u001b[31mrequest", "%s", "");

            vmm_expect_error(answer, "unknown-type");
        }
    }
    log = test_agent_read_log(agent);
    minutes = 1 + (guint)((g_get_monotonic_time() - start) / (60 * (gint64)G_USEC_PER_SEC));
    g_assert_cmpuint(count_lines(log), <, 2 * (200 + 300 * minutes));
    g_assert_null(strchr(log, '\033'));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!ram_kernel_can_poison()) {
        g_print("1..0 # SKIP this kernel has no UFFDIO_POISON\n");
        return 0;
    }
    g_test_add_func("/stall/worker-hangs", test_worker_hangs);
    g_test_add_func("/stall/fewer-while-busy", test_fewer_while_busy);
    g_test_add_func("/stall/replaced-while-busy", test_replaced_while_busy);
    g_test_add_func("/stall/disconnected-while-busy", test_disconnected_while_busy);
    g_test_add_func("/stall/terminate-while-busy", test_terminate_while_busy);
    g_test_add_func("/stall/killed-while-busy", test_killed_while_busy);
    g_test_add_func("/stall/many", test_many);
    g_test_add_func("/stall/never-reads", test_never_reads);
    g_test_add_func("/stall/log-is-bounded", test_log_is_bounded);
    return g_test_run();
}
