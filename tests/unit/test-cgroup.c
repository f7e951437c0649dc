/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the agent can know of cgroups: real ones, which only root can make
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/cgroup.h"

#define DEADLINE_MS 30000

/* A cgroup of this test below where it may make one, or NULL: then the test is skipped. */
static char *make_cgroup(void)
{
    static const char *const mounts[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };

    for (guint i = 0; i < G_N_ELEMENTS(mounts); i++) {
        g_autofree char *procs = g_build_filename(mounts[i], "cgroup.procs", NULL);
        g_autofree char *path = g_strdup_printf("%s/hwpoisond-test-%d", mounts[i], (int)getpid());

        if (g_file_test(procs, G_FILE_TEST_EXISTS) && mkdir(path, 0755) == 0)
            return g_steal_pointer(&path);
    }
    g_test_skip("no cgroup of version 2 can be made here");
    return NULL;
}

static int write_to(const char *directory, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    int fd = open(path, O_WRONLY | O_CLOEXEC), r;

    if (fd < 0)
        return -errno;
    r = write(fd, text, strlen(text)) < 0 ? -errno : 0;
    close(fd);
    return r;
}

static void remove_cgroup(const char *path)
{
    g_assert_no_errno(rmdir(path));
}

/* A process in a cgroup, until its socket is closed. */
typedef struct {
    pid_t pid;
    int end;
} Member;

static Member member_of(const char *cgroup)
{
    Member member;
    int pair[2];
    char byte;

    g_assert_no_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    member = (Member){ .pid = fork(), .end = pair[0] };
    g_assert_no_errno(member.pid);
    if (member.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(pair[0]);
        if (write_to(cgroup, "cgroup.procs", "0") < 0 || write(pair[1], "", 1) != 1)
            _exit(1);
        _exit(read(pair[1], &byte, 1) != 0);
    }
    close(pair[1]);
    g_assert_cmpint(read(member.end, &byte, 1), ==, 1);
    return member;
}

static void member_end(Member *member)
{
    int status;

    close(member->end);
    g_assert_cmpint(waitpid(member->pid, &status, 0), ==, member->pid);
    g_assert_cmpint(status, ==, 0);
}

static void test_same(void)
{
    g_autofree char *cgroup = make_cgroup(), *mine = NULL, *first = NULL, *second = NULL;
    Member members[2];

    if (!cgroup)
        return;
    members[0] = member_of(cgroup);
    members[1] = member_of(cgroup);
    mine = cgroup_of(getpid());
    first = cgroup_of(members[0].pid);
    second = cgroup_of(members[1].pid);
    g_assert_cmpstr(first, ==, second);
    g_assert_cmpstr(first, !=, mine);
    g_assert_nonnull(strstr(first, cgroup));
    member_end(&members[1]); /* it has the other's socket, too */
    member_end(&members[0]);
    g_assert_null(cgroup_of(members[0].pid));
    remove_cgroup(cgroup);
}

static void wait_until_empty(const char *directory, const char *cgroup)
{
    g_autofree char *path = g_build_filename(directory, "cgroup.events", NULL);
    struct pollfd p = { .fd = open(path, O_RDONLY | O_CLOEXEC), .events = POLLPRI };
    char text[64];

    g_assert_no_errno(p.fd);
    while (!cgroup_is_empty(cgroup)) {
        g_assert_cmpint(poll(&p, 1, DEADLINE_MS), ==, 1);
        g_assert_cmpint(pread(p.fd, text, sizeof(text), 0), >, 0);
    }
    close(p.fd);
}

static void test_empty(void)
{
    g_autofree char *directory = make_cgroup(), *below = NULL, *cgroup = NULL, *again = NULL;
    Member member;

    if (!directory)
        return;
    below = g_build_filename(directory, "below", NULL);
    g_assert_no_errno(mkdir(below, 0755));
    member = member_of(directory);
    cgroup = cgroup_of(member.pid);
    g_assert_false(cgroup_is_empty(cgroup));
    member_end(&member);
    wait_until_empty(directory, cgroup);
    member = member_of(below);
    g_assert_false(cgroup_is_empty(cgroup));
    member_end(&member);
    wait_until_empty(directory, cgroup);
    remove_cgroup(below);
    remove_cgroup(directory);
    g_assert_true(cgroup_is_empty(cgroup));
    g_assert_no_errno(mkdir(directory, 0755));
    member = member_of(directory);
    again = cgroup_of(member.pid);
    g_assert_true(cgroup_is_empty(cgroup)); /* another one has its path */
    g_assert_false(cgroup_is_empty(again));
    member_end(&member);
    remove_cgroup(directory);
}

/* Not to be known is not empty. */
static void test_unknown(void)
{
    static const char *const unknown[] = { "", "0::/", "1:name=systemd:/x\n0::/\n", "process 5 of 7", "7 x" };
    g_autofree char *mine = cgroup_of(getpid());

    for (guint i = 0; i < G_N_ELEMENTS(unknown); i++)
        g_assert_false(cgroup_is_empty(unknown[i]));
    g_assert_false(cgroup_is_empty(mine));
}

/* Whatever the kernel counts, the tables of this process alone are some. */
static void test_own_tables(void)
{
    g_assert_cmpuint(cgroup_own_tables(), >, 0);
}

/* Are processes of a cgroup, and of one below it that was changed in a way, of the same one? */
static void expect_one(void (*change)(const char *below))
{
    g_autofree char *cgroup = make_cgroup(), *path = NULL, *above = NULL, *below = NULL;
    Member members[2];

    if (!cgroup)
        return;
    path = g_build_filename(cgroup, "below", NULL);
    g_assert_no_errno(mkdir(path, 0755));
    change(path);
    members[0] = member_of(cgroup);
    members[1] = member_of(path);
    above = cgroup_of(members[0].pid);
    below = cgroup_of(members[1].pid);
    g_assert_cmpstr(above, ==, below);
    member_end(&members[1]); /* it has the other's socket, too */
    member_end(&members[0]);
    remove_cgroup(path);
    remove_cgroup(cgroup);
}

static void make_threaded(const char *cgroup)
{
    g_assert_cmpint(write_to(cgroup, "cgroup.type", "threaded"), ==, 0);
}

/* What a thread makes is where the thread is, and all the same of the guest's cgroup. */
static void test_threaded(void)
{
    expect_one(make_threaded);
}

static void hand_out(const char *cgroup)
{
    g_assert_no_errno(chown(cgroup, 65534, 65534));
}

/* Who owns a cgroup can make others below it, as many as he likes. */
static void test_handed_out(void)
{
    expect_one(hand_out);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cgroup/same", test_same);
    g_test_add_func("/cgroup/threaded", test_threaded);
    g_test_add_func("/cgroup/handed-out", test_handed_out);
    g_test_add_func("/cgroup/empty", test_empty);
    g_test_add_func("/cgroup/unknown", test_unknown);
    g_test_add_func("/cgroup/own-tables", test_own_tables);
    return g_test_run();
}
