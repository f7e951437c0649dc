/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who is who: peers, and the rules of identity in the inventory
 *
 * Real processes: this one, a child that lives, and one that has exited.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inventory.h"
#include "util/peer.h"
#include "util/proto-error.h"

static Peer peer_of_self(void)
{
    Peer peer = PEER_NULL;
    int fds[2];

    g_assert_no_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    g_assert_cmpint(peer_init(&peer, fds[0]), ==, 0);
    close(fds[0]);
    close(fds[1]);
    return peer;
}

static void test_self(void)
{
    Peer a = peer_of_self(), b = peer_of_self();
    guint64 start;

    g_assert_cmpint(a.pid, ==, getpid());
    g_assert_cmpint(a.uid, ==, getuid());
    g_assert_true(peer_alive(&a));
    g_assert_true(peer_same_process(&a, &b));
    g_assert_cmpint(peer_start_time(getpid(), &start), ==, 0);
    g_assert_cmpuint(start, ==, a.start_time);
    peer_deinit(&a);
    g_assert_true(peer_alive(&a)); /* the way without a pidfd */
    a.start_time++;
    g_assert_false(peer_alive(&a)); /* same number, another process */
    g_assert_false(peer_same_process(&a, &b));
    peer_deinit(&b);
}

/* A name that looks like the rest of /proc/PID/stat. */
static void test_odd_name(void)
{
    guint64 plain, odd;

    g_assert_cmpint(peer_start_time(getpid(), &plain), ==, 0);
    g_assert_no_errno(pthread_setname_np(pthread_self(), ") R 1 (x) 2"));
    g_assert_cmpint(peer_start_time(getpid(), &odd), ==, 0);
    g_assert_cmpuint(plain, ==, odd);
}

static void test_no_process(void)
{
    pid_t pid = fork();
    guint64 start;

    if (pid == 0)
        _exit(0);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    g_assert_cmpint(peer_start_time(pid, &start), ==, -ESRCH);
}

static Peer peer_without_pidfd(pid_t pid)
{
    Peer peer = { .pid = pid, .pidfd = -1 };

    g_assert_cmpint(peer_start_time(pid, &peer.start_time), ==, 0);
    return peer;
}

/* Nobody has waited for it: its number and start time are still there. */
static void test_zombie(void)
{
    int fds[2];
    Peer peer;
    pid_t pid;

    g_assert_no_errno(pipe2(fds, O_CLOEXEC));
    pid = fork();
    if (pid == 0) {
        char byte;

        close(fds[1]);
        _exit(read(fds[0], &byte, 1) == 0 ? 0 : 1);
    }
    peer = peer_without_pidfd(pid);
    g_assert_true(peer_alive(&peer));
    close(fds[0]);
    close(fds[1]);
    g_assert_no_errno(waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT));
    g_assert_false(peer_alive(&peer));
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    g_assert_false(peer_alive(&peer));
}

static gboolean main_thread_is_zombie(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid);
    g_autofree char *stat = NULL;

    g_assert_true(g_file_get_contents(path, &stat, NULL, NULL));
    return g_str_has_prefix(strrchr(stat, ')'), ") Z");
}

static void *tell_and_stay(void *arg)
{
    while (!main_thread_is_zombie(getpid()))
        sched_yield();
    if (write(*(int *)arg, "", 1) == 1)
        pause();
    _exit(1);
}

/* A process whose main thread has ended shows as a zombie, too, and lives. */
static void test_main_thread_gone(void)
{
    static int fds[2];
    pthread_t thread;
    char byte;
    Peer peer;
    pid_t pid;

    g_assert_no_errno(pipe2(fds, O_CLOEXEC));
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (pthread_create(&thread, NULL, tell_and_stay, &fds[1]) == 0)
            pthread_exit(NULL);
        _exit(1);
    }
    close(fds[1]);
    g_assert_cmpint(read(fds[0], &byte, 1), ==, 1);
    g_assert_true(main_thread_is_zombie(pid));
    peer = peer_without_pidfd(pid);
    g_assert_true(peer_alive(&peer));
    g_assert_no_errno(kill(pid, SIGKILL));
    g_assert_no_errno(waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT));
    g_assert_false(peer_alive(&peer));
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    close(fds[0]);
}

static Guest *guest_of(const char *name, const char *uuid, pid_t pid, guint64 start_time)
{
    Guest *guest = guest_new(name, uuid, "v", "1");

    guest->peer = (Peer){ .pid = pid, .start_time = start_time, .pidfd = -1 };
    return guest;
}

/* A guest of another live process, our parent, and claims against it. */
static void test_claims(void)
{
    g_autoptr(Inventory) inventory = inventory_new();
    g_autoptr(Guest) held = NULL;
    guint64 start;
    static const struct {
        const char *name, *uuid;
        gboolean ok;
    } claims[] = {
        { "vm1", "", FALSE },  { "vm1", "U2", FALSE }, { "vm2", "u1", FALSE }, { "", "U1", FALSE },
        { "vm2", "u2", TRUE }, { "", "", TRUE },       { "VM1", "", TRUE },
    };

    g_assert_cmpint(peer_start_time(getppid(), &start), ==, 0);
    held = guest_of("vm1", "U1", getppid(), start);
    inventory_add(inventory, held);
    for (guint i = 0; i < G_N_ELEMENTS(claims); i++) {
        g_autoptr(Guest) claimant = guest_of(claims[i].name, claims[i].uuid, getpid(), 1);
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(inventory_may_add(inventory, claimant, &error), ==, claims[i].ok);
        if (claims[i].ok)
            g_assert_null(inventory_replaced(inventory, claimant));
        else
            g_assert_error(error, PROTO_ERROR, PROTO_ERROR_IDENTITY_IN_USE);
    }
    inventory_remove(inventory, held);
}

/* Same process: replaces, whatever it calls itself. Dead process, or reused number: replaced too. */
static void test_replacement(void)
{
    g_autoptr(Inventory) inventory = inventory_new();
    g_autoptr(Guest) own = guest_of("vm1", "", getpid(), 1), dead = guest_of("vm2", "", getppid(), 1);
    g_autoptr(Guest) claimant = guest_of("vm2", "", getpid(), 1);

    inventory_add(inventory, own);
    inventory_add(inventory, dead);
    g_assert_true(inventory_may_add(inventory, claimant, NULL));
    g_assert_true(inventory_replaced(inventory, claimant) == own);
    inventory_remove(inventory, own);
    g_assert_true(inventory_replaced(inventory, claimant) == dead);
    inventory_remove(inventory, dead);
    g_assert_null(inventory_replaced(inventory, claimant));
}

/* A limit of all guests together. */
static void test_room(void)
{
    g_autoptr(Inventory) inventory = inventory_new();
    g_autoptr(Guest) a = guest_of("a", "", 100, 1), b = guest_of("b", "", 200, 1);

    inventory_add(inventory, a);
    inventory_add(inventory, b);
    g_array_set_size(a->set, POISON_SET_MAX_RANGES);
    g_array_set_size(b->set, POISON_SET_MAX_RANGES);
    g_assert_true(inventory_has_room(inventory, a, FALSE, 2 * POISON_SET_MAX_RANGES));
    g_assert_false(inventory_has_room(inventory, a, FALSE, 2 * POISON_SET_MAX_RANGES + 1));
    g_assert_true(inventory_has_room(inventory, a, TRUE, 3 * POISON_SET_MAX_RANGES));
    g_assert_false(inventory_has_room(inventory, a, TRUE, 3 * POISON_SET_MAX_RANGES + 1));
}

static void expect_none(const Inventory *inventory, const char *key, ProtoError code)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(inventory_find(inventory, key, &error));
    g_assert_error(error, PROTO_ERROR, (gint)code);
}

/* A UUID before a name before a process id. */
static void test_find(void)
{
    g_autoptr(Inventory) inventory = inventory_new();
    g_autoptr(Guest) a = guest_of("a", "0d2b3b1e-3bd0-4a3e-8a65-7d4c0d6c2f10", 100, 1);
    g_autoptr(Guest) d = guest_of("0d2b3b1e-3bd0-4a3e-8a65-7d4c0d6c2f10", "", 400, 1);
    g_autoptr(Guest) b = guest_of("77", "", 200, 1), c = guest_of("", "", 300, 1);

    inventory_add(inventory, d); /* a name that is the UUID of another */
    inventory_add(inventory, a);
    inventory_add(inventory, b);
    inventory_add(inventory, c);
    g_assert_true(inventory_find(inventory, "a", NULL) == a);
    g_assert_true(inventory_find(inventory, "0D2B3B1E-3BD0-4A3E-8A65-7D4C0D6C2F10", NULL) == a);
    g_assert_true(inventory_find(inventory, "0d2b3b1e-3bd0-4a3e-8a65-7d4c0d6c2f10", NULL) == a);
    g_assert_true(inventory_find(inventory, "77", NULL) == b);
    g_assert_true(inventory_find(inventory, "200", NULL) == b);
    g_assert_true(inventory_find(inventory, "300", NULL) == c);
    expect_none(inventory, "", PROTO_ERROR_NO_SUCH_GUEST);
    expect_none(inventory, "3", PROTO_ERROR_NO_SUCH_GUEST);
}

/* Names that are somebody's process id, written in either way. */
static void test_find_ambiguous(void)
{
    g_autoptr(Inventory) inventory = inventory_new();
    g_autoptr(Guest) a = guest_of("200", "", 100, 1), b = guest_of("b", "", 200, 1);
    g_autoptr(Guest) c = guest_of("300", "", 300, 1), d = guest_of("pid:200", "", 400, 1);

    inventory_add(inventory, a);
    inventory_add(inventory, b);
    inventory_add(inventory, c);
    inventory_add(inventory, d);
    expect_none(inventory, "200", PROTO_ERROR_AMBIGUOUS_GUEST);
    g_assert_true(inventory_find(inventory, "pid:200", NULL) == b);
    g_assert_true(inventory_find(inventory, "pid:100", NULL) == a);
    g_assert_true(inventory_find(inventory, "300", NULL) == c); /* its own */
    g_assert_true(inventory_find(inventory, "pid:400", NULL) == d);
    expect_none(inventory, "pid:b", PROTO_ERROR_NO_SUCH_GUEST);
    expect_none(inventory, "pid:", PROTO_ERROR_NO_SUCH_GUEST);
}

/* One that has gone is in no cgroup: it must not get a share of its own. */
static void test_cgroup_of_dead(void)
{
    Peer self = peer_of_self(), dead = { .pid = G_MAXINT32, .pidfd = -1 };
    g_autofree char *mine = peer_cgroup(&self);

    if (!g_file_test("/proc/self/cgroup", G_FILE_TEST_EXISTS)) {
        g_test_skip("this kernel has no cgroups");
        return;
    }
    g_assert_nonnull(mine);
    g_assert_null(peer_cgroup(&dead));
    peer_deinit(&self);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/identity/self", test_self);
    g_test_add_func("/identity/odd-name", test_odd_name);
    g_test_add_func("/identity/no-process", test_no_process);
    g_test_add_func("/identity/zombie", test_zombie);
    g_test_add_func("/identity/main-thread-gone", test_main_thread_gone);
    g_test_add_func("/identity/cgroup-of-dead", test_cgroup_of_dead);
    g_test_add_func("/identity/claims", test_claims);
    g_test_add_func("/identity/replacement", test_replacement);
    g_test_add_func("/identity/room", test_room);
    g_test_add_func("/identity/find", test_find);
    g_test_add_func("/identity/find-ambiguous", test_find_ambiguous);
    return g_test_run();
}
