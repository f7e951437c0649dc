/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VMM that breaks the protocol
 *
 * Everything that a VMM taken over by its guest could try on the socket: each must be answered with the
 * error that the protocol names, must end the connection or not as the protocol says, and must leave the
 * agent serving others. At the end of each test a second, honest process is served.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "test-agent.h"
#include "test-ram.h"
#include "test-vmm.h"

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define LAYOUT "{\"type\":\"layout\",\"id\":1,\"blocks\":[]}"
#define HELLO "{\"type\":\"hello\",\"id\":1,\"version\":1,\"vmm\":\"v\",\"vmm_version\":\"1\"}"

static void honest_vmm(gpointer data)
{
    g_autoptr(Vmm) vmm = vmm_connect(data);
    g_autoptr(Ram) ram = ram_new(RAM_ANONYMOUS, 4);

    vmm_hello(vmm, "honest", "6a2a9b6e-52a5-4c06-a2ff-9d2ea0e0b5a1");
    ram_poison_second_page(vmm, ram);
}

static void expect_others_served(TestAgent *agent)
{
    g_assert_cmpint(test_wait(test_fork(honest_vmm, agent->vmm)), ==, 0);
}

static void expect_next_error(Vmm *vmm, gint64 id, const char *code)
{
    g_autoptr(JsonObject) answer = vmm_receive(vmm);

    g_assert_cmpint(json_object_get_int_member(answer, "id"), ==, id);
    vmm_expect_error(answer, code);
}

/* Messages before hello, each on a connection of its own. */
static const struct {
    const char *body;
    gint64 id;
    const char *code;
    gboolean fatal;
} messages[] = {
    { "x", 0, "bad-json", TRUE },
    { "[]", 0, "bad-json", TRUE },
    { "{\"type\":\"hello\"}", 0, "bad-json", TRUE },
    { "{\"id\":1}", 0, "bad-json", TRUE },
    { "{\"type\":5,\"id\":1}", 0, "bad-json", TRUE },
    { "{\"type\":\"hello\",\"id\":0}", 0, "bad-json", TRUE },
    { "{\"type\":\"hello\",\"id\":9007199254740992}", 0, "bad-json", TRUE },
    { "{\"type\":\"hello\",\"id\":18446744073709551615}", 0, "bad-json", TRUE },
    { "{\"type\":\"hello\",\"id\":-18446744073709551615}", 0, "bad-json", TRUE },
    { "{\"type\":\"hello\",\"id\":\"\\ud800\"}", 0, "bad-json", TRUE },
    { "{\"type\":\"hello\",\"id\":1}{\"type\":\"hello\",\"id\":2}", 0, "bad-json", TRUE },
    { "{\"type\":\"hello\",\"id\":1,\"x\":[[[[[[[[[[]]]]]]]]]]}", 0, "bad-json", TRUE },
    { "{\"type\":\"dance\",\"id\":7}", 7, "unknown-type", FALSE },
    { "{\"type\":\"layout\",\"id\":8,\"blocks\":[]}", 8, "bad-state", FALSE },
    { "{\"type\":\"poison-end\",\"id\":9}", 9, "bad-state", FALSE },
    { "{\"type\":\"hello\",\"id\":10,\"version\":2,\"vmm\":\"v\",\"vmm_version\":\"1\"}", 10, "version", FALSE },
    { "{\"type\":\"hello\",\"id\":11,\"version\":1,\"vmm_version\":\"1\"}", 11, "bad-member", FALSE },
    { "{\"type\":\"hello\",\"id\":12,\"version\":1,\"vmm\":\"v\",\"vmm_version\":\"1\",\"uuid\":\"x\"}", 12,
      "bad-member", FALSE },
};

static void test_messages(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);

    for (guint i = 0; i < G_N_ELEMENTS(messages); i++) {
        g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);

        vmm_send(vmm, messages[i].body, NULL, 0);
        expect_next_error(vmm, messages[i].id, messages[i].code);
        if (messages[i].fatal)
            vmm_expect_eof(vmm);
        else
            vmm_hello(vmm, "", "");
    }
    expect_others_served(agent);
}

static void test_deep_nesting(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    g_autofree char *deep = g_strnfill(1000000, '[');

    memcpy(deep, "{\"a\":", 5);
    vmm_send(vmm, deep, NULL, 0);
    expect_next_error(vmm, 0, "bad-json");
    vmm_expect_eof(vmm);
    expect_others_served(agent);
}

static void test_frames(void)
{
    static const guint32 lengths[] = { 0, 1024 * 1024 + 1, G_MAXUINT32 };
    g_autoptr(TestAgent) agent = test_agent_start(NULL);

    for (guint i = 0; i < G_N_ELEMENTS(lengths); i++) {
        g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
        guint32 le = GUINT32_TO_LE(lengths[i]);

        vmm_send_bytes(vmm, &le, sizeof(le), NULL, 0);
        expect_next_error(vmm, 0, "bad-frame");
        vmm_expect_eof(vmm);
    }
    expect_others_served(agent);
}

/* A frame byte by byte works; one cut short, and one that never comes, disturb nobody. */
static void test_dribble(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm), cut = vmm_connect(agent->vmm);
    g_autoptr(JsonObject) answer = NULL;
    guint32 le = GUINT32_TO_LE((guint32)strlen(HELLO));

    vmm_send_bytes(cut, &le, sizeof(le), NULL, 0);
    vmm_send_bytes(cut, "{\"type", 6, NULL, 0);
    for (guint i = 0; i < sizeof(le); i++)
        vmm_send_bytes(vmm, (const char *)&le + i, 1, NULL, 0);
    for (guint i = 0; i < strlen(HELLO); i++)
        vmm_send_bytes(vmm, HELLO + i, 1, NULL, 0);
    answer = vmm_receive(vmm);
    g_assert_cmpstr(json_object_get_string_member(answer, "type"), ==, "hello");
    expect_others_served(agent);
}

static void expect_call_error(Vmm *vmm, int fd, const char *type, const char *members, const char *code)
{
    g_autoptr(JsonObject) answer = vmm_call(vmm, fd, type, "%s", members);

    vmm_expect_error(answer, code);
}

static void test_descriptors(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    g_autoptr(Ram) ram = ram_new(RAM_ANONYMOUS, 4);
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);

    vmm_hello(vmm, "vm1", "");
    expect_call_error(vmm, file, "layout", "\"blocks\":[]", "unexpected-fd");
    expect_call_error(vmm, -1, "poison-begin", "\"pages\":1", "missing-fd");
    expect_call_error(vmm, file, "poison-begin", "\"pages\":1", "not-userfaultfd");
    expect_call_error(vmm, file, "poison", "\"block\":\"x\",\"count\":1", "bad-state");
    ram_send_layout(vmm, ram, "ram");
    ram_begin(vmm, ram, 1);
    expect_call_error(vmm, ram->uffd, "poison-begin", "\"pages\":1", "bad-state");
    expect_call_error(vmm, -1, "poison", "\"block\":\"ram\",\"count\":1", "missing-fd");
    expect_call_error(vmm, file, "poison", "\"block\":\"ram\",\"count\":1", "not-sealed-memfd");
    expect_call_error(vmm, ram->uffd, "poison", "\"block\":\"ram\",\"count\":1", "not-sealed-memfd");
    close(file);
    expect_others_served(agent);
}

static void test_two_descriptors(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm), many = vmm_connect(agent->vmm);
    int fds[8];

    for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    vmm_hello(vmm, "", "");
    vmm_send(vmm, LAYOUT, fds, 2);
    expect_next_error(vmm, 0, "too-many-fds");
    vmm_expect_eof(vmm);
    vmm_hello(many, "", "");
    vmm_send(many, LAYOUT, fds, G_N_ELEMENTS(fds));
    expect_next_error(many, 0, "too-many-fds");
    vmm_expect_eof(many);
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
        close(fds[i]);
    expect_others_served(agent);
}

/* A descriptor on a later byte of the message than the first. */
static void test_late_descriptor(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    guint32 le = GUINT32_TO_LE((guint32)strlen(LAYOUT));
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    vmm_hello(vmm, "", "");
    vmm_send_bytes(vmm, &le, sizeof(le), NULL, 0);
    vmm_send_bytes(vmm, LAYOUT, strlen(LAYOUT), &fd, 1);
    expect_next_error(vmm, 1, "unexpected-fd");
    vmm_call_ok(vmm, -1, "layout", "\"blocks\":[]");
    close(fd);
    expect_others_served(agent);
}

/* Descriptors of refused requests must not pile up in the agent. */
static guint count_fds(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", (int)pid);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    guint n = 0;

    while (g_dir_read_name(dir))
        n++;
    return n;
}

static void test_no_leak(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    guint before;

    vmm_hello(vmm, "", "");
    before = count_fds(agent->pid);
    for (guint i = 0; i < 50; i++) {
        expect_call_error(vmm, fd, "layout", "\"blocks\":[]", "unexpected-fd");
        expect_call_error(vmm, fd, "poison-begin", "\"pages\":1", "not-userfaultfd");
        expect_call_error(vmm, fd, "poison", "\"block\":\"ram\",\"count\":1", "bad-state");
    }
    g_assert_cmpuint(count_fds(agent->pid), ==, before);
    close(fd);
}

static const struct {
    guint64 offset, length;
    const char *code;
} bad_ranges[] = {
    { 0, 0, "range-empty" },
    { 1, 4096, "range-unaligned" },
    { 0, 4095, "range-unaligned" },
    { 0, G_MAXUINT64, "range-unaligned" },
    { G_MAXUINT64, G_MAXUINT64, "range-unaligned" },
    { 0, G_MAXUINT64 - 4095, "range-outside-block" },
    { G_MAXUINT64 - 4095, 4096, "range-outside-block" },
    { G_MAXUINT64 - 4095, 8192, "range-outside-block" },
    { 4 * 4096, 4096, "range-outside-block" },
    { 3 * 4096, 8192, "range-outside-block" },
    { 1ULL << 63, 1ULL << 63, "range-outside-block" },
};

static void test_ranges(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    g_autoptr(Ram) ram = ram_new(RAM_ANONYMOUS, 4);
    const VmmRecord overlap[] = { { 0, 8192 }, { 4096, 4096 } }, unsorted[] = { { 4096, 4096 }, { 0, 4096 } };

    vmm_hello(vmm, "vm1", "");
    ram_send_layout(vmm, ram, "ram");
    ram_prepare(ram, 0, 4);
    ram_begin(vmm, ram, 4);
    for (guint i = 0; i < G_N_ELEMENTS(bad_ranges); i++) {
        /* A good one first: nothing of a bad request may be done. */
        VmmRecord records[] = { { 0, 4096 }, { bad_ranges[i].offset, bad_ranges[i].length } };
        g_autoptr(JsonObject) answer = vmm_poison(vmm, "ram", records, 2);

        vmm_expect_error(answer, bad_ranges[i].code);
    }
    g_autoptr(JsonObject) a = vmm_poison(vmm, "ram", overlap, 2);
    g_autoptr(JsonObject) b = vmm_poison(vmm, "ram", unsorted, 2);
    g_autoptr(JsonObject) c = vmm_poison(vmm, "other", unsorted, 1);
    vmm_expect_error(a, "range-overlap");
    vmm_expect_error(b, "range-overlap");
    vmm_expect_error(c, "unknown-block");
    vmm_call_ok(vmm, -1, "poison-end", "%s", "");
    ram_release(ram, 0, 4);
    for (gsize page = 0; page < 4; page++)
        g_assert_false(ram_is_poisoned(ram, page));
    expect_others_served(agent);
}

/* One record, in a memfd that lacks a seal or has another size. */
static void test_memfds(void)
{
    static const int seals[] = { 0, F_SEAL_WRITE, F_SEAL_SHRINK | F_SEAL_GROW,
                                 F_SEAL_SHRINK | F_SEAL_WRITE, F_SEAL_GROW | F_SEAL_WRITE };
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    g_autoptr(Ram) ram = ram_new(RAM_ANONYMOUS, 4);
    const VmmRecord records[2] = { { 0, 4096 }, { 4096, 4096 } };

    vmm_hello(vmm, "vm1", "");
    ram_send_layout(vmm, ram, "ram");
    ram_begin(vmm, ram, 1);
    for (guint i = 0; i < G_N_ELEMENTS(seals); i++) {
        int fd = vmm_memfd(records, sizeof(records[0]), seals[i]);

        expect_call_error(vmm, fd, "poison", "\"block\":\"ram\",\"count\":1", "not-sealed-memfd");
        close(fd);
    }
    for (gsize size = 0; size <= sizeof(records); size += 8) {
        int fd = vmm_memfd(records, size, ALL_SEALS);

        if (size != sizeof(records[0]))
            expect_call_error(vmm, fd, "poison", "\"block\":\"ram\",\"count\":1", "bad-count");
        expect_call_error(vmm, fd, "poison", "\"block\":\"ram\",\"count\":0", "bad-count");
        expect_call_error(vmm, fd, "poison", "\"block\":\"ram\",\"count\":65537", "bad-count");
        close(fd);
    }
    expect_others_served(agent);
}

/* All lines together are 200 at once: who connects again and again must not get them all. */
static void test_log_flood(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autofree char *log = NULL;
    g_auto(GStrv) parts = NULL;

    for (guint i = 0; i < 300; i++) {
        g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);

        vmm_hello(vmm, "again", "");
    }
    log = test_agent_read_log(agent);
    parts = g_strsplit(log, "connected: test-vmm", -1);
    g_assert_cmpuint(g_strv_length(parts), >, 90);
    g_assert_cmpuint(g_strv_length(parts), <, 190);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!ram_kernel_can_poison()) {
        g_print("1..0 # SKIP this kernel has no UFFDIO_POISON\n");
        return 0;
    }
    g_test_add_func("/hostile/messages", test_messages);
    g_test_add_func("/hostile/deep-nesting", test_deep_nesting);
    g_test_add_func("/hostile/frames", test_frames);
    g_test_add_func("/hostile/dribble", test_dribble);
    g_test_add_func("/hostile/descriptors", test_descriptors);
    g_test_add_func("/hostile/two-descriptors", test_two_descriptors);
    g_test_add_func("/hostile/late-descriptor", test_late_descriptor);
    g_test_add_func("/hostile/no-leak", test_no_leak);
    g_test_add_func("/hostile/ranges", test_ranges);
    g_test_add_func("/hostile/memfds", test_memfds);
    g_test_add_func("/hostile/log-flood", test_log_flood);
    return g_test_run();
}
