/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors whose last close() hangs
 *
 * A TCP socket with unsent data that lingers makes its last close() wait for as long as its owner said. A VMM
 * hands such a socket to the agent in every way there is, and has no copy of its own, so the last close() is the
 * agent's. Meanwhile another process must be served. The agent is stopped while all that is sent, so that it
 * cannot come first. Where the agent does not end the waiting, the other side of the TCP connection goes in the end,
 * and with it all waiting.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control-server.h"
#include "test-agent.h"
#include "test-ram.h"
#include "test-vmm.h"

#define LINGER_S 600
#define NOPE     "{\"type\":\"layout\",\"id\":1,\"blocks\":[]}"

typedef struct {
    TestAgent *agent;
    Vmm *vmm;
    int listener, other, fd; /* of the TCP connection; the last one goes to the agent */
} Linger;

static void make_lingering(Linger *l)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const struct linger linger = { .l_onoff = 1, .l_linger = LINGER_S };
    socklen_t size = sizeof(address);
    static char junk[65536];

    l->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_no_errno(bind(l->listener, (const struct sockaddr *)&address, sizeof(address)));
    g_assert_no_errno(listen(l->listener, 1));
    g_assert_no_errno(getsockname(l->listener, (struct sockaddr *)&address, &size));
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_no_errno(connect(l->fd, (const struct sockaddr *)&address, sizeof(address)));
    l->other = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC);
    g_assert_no_errno(l->other);
    while (send(l->fd, junk, sizeof(junk), MSG_DONTWAIT) > 0)
        continue;
    g_assert_no_errno(setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
}

static Linger linger_begin(gboolean hello)
{
    Linger l = { .agent = test_agent_start(NULL) };

    l.vmm = vmm_connect(l.agent->vmm);
    if (hello)
        vmm_hello(l.vmm, "lingering", "");
    make_lingering(&l);
    g_assert_no_errno(kill(l.agent->pid, SIGSTOP));
    return l;
}

static void other_vmm(gpointer path)
{
    g_autoptr(Vmm) vmm = vmm_connect(path);

    vmm_hello(vmm, "other", "");
    vmm_call_ok(vmm, -1, "layout", "\"blocks\":[]");
}

/* The agent goes on, with the last copy of the socket. */
static void expect_others_served(Linger *l)
{
    close(l->fd);
    g_assert_no_errno(kill(l->agent->pid, SIGCONT));
    for (guint i = 0; i < 3; i++)
        g_assert_cmpint(test_wait(test_fork(other_vmm, l->agent->vmm)), ==, 0);
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0)
        test_agent_expect_filtered(l->agent); /* the thread that hangs, too */
}

static void release(Linger *l)
{
    close(l->other);
    close(l->listener);
}

static void linger_end(Linger *l)
{
    vmm_close(l->vmm);
    test_agent_free(l->agent);
}

static void expect_error(Vmm *vmm, const char *code)
{
    g_autoptr(JsonObject) answer = vmm_receive(vmm);

    vmm_expect_error(answer, code);
}

/* The request is answered when its descriptor is closed, and that does not take as long as its owner said. */
static void test_unexpected(void)
{
    Linger l = linger_begin(TRUE);

    vmm_send(l.vmm, NOPE, &l.fd, 1);
    expect_others_served(&l);
    expect_error(l.vmm, "unexpected-fd");
    vmm_call_ok(l.vmm, -1, "layout", "\"blocks\":[]");
    release(&l);
    linger_end(&l);
}

static void test_late(void)
{
    Linger l = linger_begin(TRUE);
    guint32 le = GUINT32_TO_LE((guint32)strlen(NOPE));

    vmm_send_bytes(l.vmm, &le, sizeof(le), NULL, 0);
    vmm_send_bytes(l.vmm, NOPE, strlen(NOPE), &l.fd, 1);
    expect_others_served(&l);
    release(&l);
    expect_error(l.vmm, "unexpected-fd");
    linger_end(&l);
}

static void test_many(void)
{
    Linger l = linger_begin(TRUE);
    int fds[8] = { 0 };

    fds[7] = l.fd;
    vmm_send(l.vmm, NOPE, fds, G_N_ELEMENTS(fds));
    expect_others_served(&l);
    expect_error(l.vmm, "too-many-fds");
    vmm_expect_eof(l.vmm);
    release(&l);
    linger_end(&l);
}

/* The connection ends with the first message; the second is never read. */
static void test_unread(void)
{
    Linger l = linger_begin(TRUE);

    vmm_send(l.vmm, "x", NULL, 0);
    vmm_send(l.vmm, NOPE, &l.fd, 1);
    expect_others_served(&l);
    expect_error(l.vmm, "bad-json");
    release(&l);
    linger_end(&l);
}

static void test_no_memfd(void)
{
    Linger l = { .agent = test_agent_start(NULL) };
    g_autoptr(Ram) ram = ram_new(RAM_ANONYMOUS, 1);

    l.vmm = vmm_connect(l.agent->vmm);
    vmm_hello(l.vmm, "lingering", "");
    ram_send_layout(l.vmm, ram, "ram");
    ram_begin(l.vmm, ram, 1);
    make_lingering(&l);
    g_assert_no_errno(kill(l.agent->pid, SIGSTOP));
    vmm_send(l.vmm, "{\"type\":\"poison\",\"id\":1,\"block\":\"ram\",\"count\":1}", &l.fd, 1);
    expect_others_served(&l);
    release(&l);
    expect_error(l.vmm, "not-sealed-memfd");
    linger_end(&l);
}

static ssize_t send_fd(int sock, int fd, int flags)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = { .align = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) } };
    struct iovec iov = { .iov_base = (void *)"\x01", .iov_len = 1 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space,
                          .msg_controllen = sizeof(control.space) };

    memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
    return sendmsg(sock, &msg, MSG_NOSIGNAL | flags);
}

/* Out of band: by default the kernel drops the byte, and its descriptor, when the next one is read. */
static void test_out_of_band(void)
{
    Linger l = linger_begin(TRUE);
    ssize_t n = send_fd(l.vmm->fd, l.fd, MSG_OOB);

    if (n < 0 && errno == EOPNOTSUPP)
        g_test_skip("this kernel has no out-of-band data on Unix sockets");
    else
        g_assert_cmpint(n, ==, 1);
    vmm_send_bytes(l.vmm, "\0\0\0x", 4, NULL, 0);
    expect_others_served(&l);
    release(&l);
    linger_end(&l);
}

/* Strangers, one too many: the kernel refuses it to them, or else they hold up nobody. */
static void test_before_hello(void)
{
    Linger l = linger_begin(FALSE);
    const struct linger no = { .l_onoff = 0 };
    Vmm *more[8];

    for (guint i = 0; i < G_N_ELEMENTS(more); i++) {
        more[i] = vmm_connect(l.agent->vmm);
        if (i >= 3 && send_fd(more[i]->fd, l.fd, 0) < 0) {
            g_assert_cmpint(errno, ==, EPERM);
            g_assert_no_errno(setsockopt(l.fd, SOL_SOCKET, SO_LINGER, &no, sizeof(no))); /* the last copy is ours */
        }
    }
    expect_others_served(&l);
    release(&l);
    for (guint i = 0; i < G_N_ELEMENTS(more); i++)
        vmm_close(more[i]);
    linger_end(&l);
}

#define LIST "{\"type\":\"list\",\"id\":1}"

static void send_in_message(Vmm *client, int fd)
{
    vmm_send(client, LIST, &fd, 1);
}

static void send_behind_last_message(Vmm *client, int fd)
{
    vmm_send(client, "x", NULL, 0);
    vmm_send(client, LIST, &fd, 1);
}

static void send_in_half_a_message(Vmm *client, int fd)
{
    vmm_send_bytes(client, "\x20\0\0\0{", 5, &fd, 1);
    g_assert_no_errno(shutdown(client->fd, SHUT_WR));
}

static void send_with_out_of_band_byte(Vmm *client, int fd)
{
    g_assert_cmpint(send_fd(client->fd, fd, MSG_OOB), ==, 1);
    g_assert_no_errno(shutdown(client->fd, SHUT_WR));
}

/* The control socket wants no descriptors. */
static void test_control_socket(void)
{
    static void (*const ways[])(Vmm *client, int fd) = {
        send_in_message,
        send_behind_last_message,
        send_in_half_a_message,
        send_with_out_of_band_byte,
    };

    for (guint i = 0; i < G_N_ELEMENTS(ways); i++) {
        Linger l = linger_begin(FALSE);
        g_autoptr(Vmm) hostile = vmm_connect(l.agent->control), client = NULL;
        g_autoptr(JsonObject) answer = NULL;

        ways[i](hostile, l.fd);
        expect_others_served(&l);
        client = vmm_connect(l.agent->control);
        answer = vmm_call(client, -1, "list", "%s", "");
        g_assert_true(json_object_has_member(answer, "guests"));
        release(&l);
        linger_end(&l);
    }
}

/* Twice as many as there may be threads: each of them is through before long. */
static void test_crowd(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) client = NULL;
    g_autoptr(JsonObject) answer = NULL;
    Linger crowd[2 * CONTROL_MAX_CONNECTIONS];

    g_assert_no_errno(kill(agent->pid, SIGSTOP));
    for (guint i = 0; i < G_N_ELEMENTS(crowd); i++) {
        make_lingering(&crowd[i]);
        crowd[i].vmm = vmm_connect(agent->control);
        send_in_message(crowd[i].vmm, crowd[i].fd);
        close(crowd[i].fd);
    }
    g_assert_no_errno(kill(agent->pid, SIGCONT));
    client = vmm_connect(agent->control);
    answer = vmm_call(client, -1, "list", "%s", "");
    g_assert_true(json_object_has_member(answer, "guests"));
    for (guint i = 0; i < G_N_ELEMENTS(crowd); i++) {
        release(&crowd[i]);
        vmm_close(crowd[i].vmm);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!ram_kernel_can_poison()) {
        g_print("1..0 # SKIP this kernel has no UFFDIO_POISON\n");
        return 0;
    }
    g_test_add_func("/linger/unexpected", test_unexpected);
    g_test_add_func("/linger/late", test_late);
    g_test_add_func("/linger/many", test_many);
    g_test_add_func("/linger/unread", test_unread);
    g_test_add_func("/linger/no-memfd", test_no_memfd);
    g_test_add_func("/linger/out-of-band", test_out_of_band);
    g_test_add_func("/linger/before-hello", test_before_hello);
    g_test_add_func("/linger/control-socket", test_control_socket);
    g_test_add_func("/linger/crowd", test_crowd);
    return g_test_run();
}
