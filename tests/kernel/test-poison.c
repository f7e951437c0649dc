/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The agent poisons what it is asked to, and nothing else
 *
 * Real RAM of this process, a real userfaultfd, the real agent. After each request every page is looked
 * at: poisoned ones must answer EHWPOISON, all others must hold what was written into them.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test-agent.h"
#include "test-ram.h"
#include "test-vmm.h"

#define PAGES 64u

static void check_all(Ram *ram, gsize pages, const VmmRecord *records, guint n)
{
    for (gsize page = 0; page < pages; page++) {
        gboolean expected = FALSE;

        for (guint i = 0; i < n; i++)
            expected |= page * ram->page >= records[i].offset &&
                        page * ram->page < records[i].offset + records[i].length;
        g_assert_cmpint(ram_is_poisoned(ram, page), ==, expected);
        if (!expected)
            g_assert_true(ram_is_intact(ram, page));
    }
}

static void check_touch(Ram *ram, gsize page)
{
    int code = ram_touch(ram, page);

    g_test_message("SIGBUS code: %s", code == BUS_MCEERR_AR ? "BUS_MCEERR_AR"
                                      : code == BUS_ADRERR  ? "BUS_ADRERR (no CONFIG_MEMORY_FAILURE)"
                                                            : "unexpected");
    g_assert_true(code == BUS_MCEERR_AR || code == BUS_ADRERR);
}

static void expect_poisoned(JsonObject *answer, guint ranges, guint failed)
{
    g_assert_cmpstr(json_object_get_string_member(answer, "type"), ==, "poisoned");
    g_assert_cmpint(json_object_get_int_member(answer, "ranges"), ==, ranges);
    g_assert_cmpint(json_object_get_int_member(answer, "failed_count"), ==, failed);
    g_assert_cmpuint(json_array_get_length(json_object_get_array_member(answer, "failed")), ==,
                     MIN(failed, 64));
}

/* Hello, layout, begin, three ranges, end; then all pages are checked. */
static void poison_three_ranges(RamKind kind, gsize pages)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    g_autoptr(Ram) ram = ram_new(kind, pages);
    g_autoptr(JsonObject) answer = NULL;
    VmmRecord records[] = { { 0, ram->page },
                            { (pages / 2) * ram->page, 2 * ram->page },
                            { (pages - 1) * ram->page, ram->page } };

    ram_fill(ram);
    vmm_hello(vmm, "vm1", "");
    ram_send_layout(vmm, ram, "pc.ram");
    for (guint i = 0; i < G_N_ELEMENTS(records); i++)
        ram_prepare(ram, records[i].offset / ram->page, records[i].length / ram->page);
    ram_begin(vmm, ram, 4);
    answer = vmm_poison(vmm, "pc.ram", records, G_N_ELEMENTS(records));
    expect_poisoned(answer, 3, 0);
    vmm_call_ok(vmm, -1, "poison-end", "%s", "");
    for (guint i = 0; i < G_N_ELEMENTS(records); i++)
        ram_release(ram, records[i].offset / ram->page, records[i].length / ram->page);
    check_all(ram, pages, records, G_N_ELEMENTS(records));
    check_touch(ram, 0);
}

static void test_anonymous(void)
{
    poison_three_ranges(RAM_ANONYMOUS, PAGES);
}

static void test_shmem(void)
{
    poison_three_ranges(RAM_SHMEM, PAGES);
}

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static guint64 read_number(const char *path)
{
    g_autofree char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? g_ascii_strtoull(text, NULL, 10) : 0;
}

static void write_number(const char *path, guint64 number)
{
    FILE *file = fopen(path, "we");

    if (file) {
        fprintf(file, "%" G_GUINT64_FORMAT, number);
        fclose(file);
    }
}

/* Takes free huge pages, or reserves some for the time of the test where it may. */
static void test_hugetlb(void)
{
    guint64 reserved = read_number(POOL "nr_hugepages");

    if (read_number(POOL "free_hugepages") < 8)
        write_number(POOL "nr_hugepages", reserved + 8);
    if (read_number(POOL "free_hugepages") >= 8)
        poison_three_ranges(RAM_HUGETLB, 8);
    else
        g_test_skip("no 8 free huge pages of 2 MiB here, and none could be reserved");
    if (read_number(POOL "nr_hugepages") != reserved)
        write_number(POOL "nr_hugepages", reserved);
}

typedef struct {
    TestAgent *agent;
    Vmm *vmm;
    Ram *ram;
} Session;

static Session session_begin(const char *config)
{
    Session s = { .agent = test_agent_start(config) };

    s.vmm = vmm_connect(s.agent->vmm);
    s.ram = ram_new(RAM_ANONYMOUS, PAGES);
    vmm_hello(s.vmm, "vm1", "");
    ram_send_layout(s.vmm, s.ram, "pc.ram");
    ram_begin(s.vmm, s.ram, 0);
    return s;
}

static void session_end(Session *s)
{
    ram_free(s->ram);
    vmm_close(s->vmm);
    test_agent_free(s->agent);
}

static void expect_failure(JsonObject *answer, guint at, gint64 index, const char *error, gint64 done)
{
    JsonArray *failed = json_object_get_array_member(answer, "failed");
    JsonObject *entry = json_array_get_object_element(failed, at);

    g_assert_cmpint(json_object_get_int_member(entry, "index"), ==, index);
    g_assert_cmpstr(json_object_get_string_member(entry, "error"), ==, error);
    g_assert_cmpint(json_object_get_int_member(entry, "errno"), >, 0);
    g_assert_cmpint(json_object_get_int_member(entry, "done"), ==, done);
}

/* A page that is in use stops its range, names the reason, and does not stop the next range. */
static void test_partial(void)
{
    Session s = session_begin(NULL);
    gsize page = s.ram->page;
    VmmRecord records[] = { { 0, 8 * page }, { 10 * page, page }, { 20 * page, page } };
    g_autoptr(JsonObject) answer = NULL, blocker = NULL;

    ram_prepare(s.ram, 0, 8);
    ram_prepare(s.ram, 20, 1);
    blocker = vmm_poison(s.vmm, "pc.ram", &(VmmRecord){ 5 * page, page }, 1); /* page 5 is in the way now */
    answer = vmm_poison(s.vmm, "pc.ram", records, 3);
    expect_poisoned(answer, 3, 2);
    expect_failure(answer, 0, 0, "EEXIST", (gint64)(5 * page));
    expect_failure(answer, 1, 1, "ENOENT", 0); /* never registered */
    g_assert_true(ram_is_poisoned(s.ram, 4));
    g_assert_true(ram_is_poisoned(s.ram, 20));
    g_assert_false(ram_is_poisoned(s.ram, 10));
    session_end(&s);
}

/* At most 64 failures are listed, all are counted. */
static void test_many_failures(void)
{
    Session s = session_begin(NULL);
    g_autoptr(JsonObject) answer = NULL;
    g_autoptr(Ram) big = ram_new(RAM_ANONYMOUS, 200);
    VmmRecord many[100];

    for (guint i = 0; i < G_N_ELEMENTS(many); i++)
        many[i] = (VmmRecord){ 2 * i * big->page, big->page };
    ram_send_layout(s.vmm, big, "big");
    answer = vmm_poison(s.vmm, "big", many, G_N_ELEMENTS(many));
    expect_poisoned(answer, 100, 100);
    expect_failure(answer, 63, 63, "ENOENT", 0);
    session_end(&s);
}

/* The VMM unmaps the memory between poison-begin and poison. */
static void test_unmapped(void)
{
    Session s = session_begin(NULL);
    g_autoptr(JsonObject) answer = NULL;
    g_autofree char *status = NULL;
    int exit_status;

    ram_prepare(s.ram, 0, 1);
    g_assert_no_errno(munmap(s.ram->address, s.ram->page));
    answer = vmm_poison(s.vmm, "pc.ram", &(VmmRecord){ 0, s.ram->page }, 1);
    expect_poisoned(answer, 1, 1);
    status = test_agent_ctl(s.agent, &exit_status, "status", NULL);
    g_assert_cmpint(exit_status, ==, 0);
    session_end(&s);
}

/* The largest list there may be, every second page. */
static void test_max_ranges(void)
{
    const guint n = 65536;
    g_autofree VmmRecord *records = g_new(VmmRecord, n + 1);
    Session s = session_begin(NULL);
    g_autoptr(Ram) big = ram_new(RAM_ANONYMOUS, 2 * n + 2);
    g_autoptr(JsonObject) answer = NULL, too_many = NULL;

    for (guint i = 0; i <= n; i++)
        records[i] = (VmmRecord){ 2 * i * big->page, big->page };
    ram_prepare(big, 0, 2 * n + 2);
    ram_send_layout(s.vmm, big, "big");
    vmm_call_ok(s.vmm, -1, "poison-end", "%s", "");
    ram_begin(s.vmm, big, n);
    too_many = vmm_poison(s.vmm, "big", records, n + 1);
    vmm_expect_error(too_many, "bad-count");
    answer = vmm_poison(s.vmm, "big", records, n);
    expect_poisoned(answer, n, 0);
    for (guint i = 0; i < n; i += 4099)
        g_assert_true(ram_is_poisoned(big, 2 * i));
    g_assert_true(ram_is_poisoned(big, 2 * (n - 1)));
    session_end(&s);
}

static void test_policy(void)
{
    Session s = session_begin("[policy]\nmax-pages-per-guest=3\nmemory-kinds=anonymous\n");
    gsize page = s.ram->page;
    g_autoptr(JsonObject) begin = NULL, more = NULL, first = NULL, kind = NULL;
    g_autoptr(Ram) shared = ram_new(RAM_SHMEM, 1);

    ram_prepare(s.ram, 0, 8);
    first = vmm_poison(s.vmm, "pc.ram", &(VmmRecord){ 0, 2 * page }, 1);
    expect_poisoned(first, 1, 0);
    more = vmm_poison(s.vmm, "pc.ram", &(VmmRecord){ 2 * page, 2 * page }, 1);
    vmm_expect_error(more, "policy-pages");
    g_assert_false(ram_is_poisoned(s.ram, 9));
    vmm_call_ok(s.vmm, -1, "poison-end", "%s", "");
    begin = vmm_call(s.vmm, s.ram->uffd, "poison-begin", "\"pages\":2");
    vmm_expect_error(begin, "policy-pages");
    ram_send_layout(s.vmm, shared, "shared");
    ram_begin(s.vmm, s.ram, 1);
    kind = vmm_poison(s.vmm, "shared", &(VmmRecord){ 0, page }, 1);
    vmm_expect_error(kind, "policy-kind");
    session_end(&s);
}

/* What a process was given counts, whatever it tells, and on whatever connection. */
static void test_policy_of_process(void)
{
    Session s = session_begin("[policy]\nmax-pages-per-guest=3\n");
    gsize page = s.ram->page;
    g_autoptr(JsonObject) first = NULL, more = NULL, begin = NULL;
    g_autoptr(Vmm) again = NULL;

    ram_prepare(s.ram, 0, 8);
    first = vmm_poison(s.vmm, "pc.ram", &(VmmRecord){ 0, 2 * page }, 1);
    expect_poisoned(first, 1, 0);
    vmm_call_ok(s.vmm, -1, "poison-set", "\"replace\":true,\"ranges\":[]");
    more = vmm_poison(s.vmm, "pc.ram", &(VmmRecord){ 2 * page, 2 * page }, 1);
    vmm_expect_error(more, "policy-pages");
    again = vmm_connect(s.agent->vmm);
    vmm_hello(again, "other name", "");
    ram_send_layout(again, s.ram, "pc.ram");
    begin = vmm_call(again, s.ram->uffd, "poison-begin", "\"pages\":2");
    vmm_expect_error(begin, "policy-pages");
    ram_begin(again, s.ram, 1);
    g_clear_pointer(&more, json_object_unref);
    more = vmm_poison(again, "pc.ram", &(VmmRecord){ 2 * page, 2 * page }, 1);
    vmm_expect_error(more, "policy-pages");
    session_end(&s);
}

#define REGION          (2ULL << 20)
#define TELL_FAR_LAYOUT \
    "\"blocks\":[{\"name\":\"far\",\"host_virt_addr\":%llu,\"size\":%llu,\"page_size\":4096," \
    "\"kind\":\"anonymous\",\"shared\":false}]", 1ULL << 40, 10000 * REGION

/* One page in each region, from the first on. */
static JsonObject *poison_scattered(Vmm *vmm, guint first, guint n)
{
    g_autofree VmmRecord *records = g_new(VmmRecord, n);

    for (guint i = 0; i < n; i++)
        records[i] = (VmmRecord){ (first + i) * REGION, 4096 };
    return vmm_poison(vmm, "far", records, n);
}

/* Page tables are what costs the agent memory: none of this memory exists, and all the same it counts. */
static void test_regions(void)
{
    Session s = session_begin(NULL);
    g_autoptr(JsonObject) too_many = NULL, some = NULL, more = NULL;

    vmm_call_ok(s.vmm, -1, "layout", TELL_FAR_LAYOUT);
    too_many = poison_scattered(s.vmm, 0, 8193);
    vmm_expect_error(too_many, "policy-pages");
    some = poison_scattered(s.vmm, 0, 8000);
    expect_poisoned(some, 8000, 8000);
    more = poison_scattered(s.vmm, 8000, 200);
    vmm_expect_error(more, "policy-pages");
    session_end(&s);
}

static long table_kib(void)
{
    g_autofree char *status = NULL;
    const char *line;

    g_assert_true(g_file_get_contents("/proc/self/status", &status, NULL, NULL));
    line = strstr(status, "VmPTE:");
    g_assert_nonnull(line);
    return strtol(line + strlen("VmPTE:"), NULL, 10);
}

#define BATCH   1024u
#define BATCHES 16u

/* The batch of a block of "huge" pages, all of it; TRUE if it was refused. */
static gboolean poison_batch(Vmm *vmm, guint batch)
{
    g_autofree VmmRecord *records = g_new(VmmRecord, BATCH);
    g_autoptr(JsonObject) answer = NULL;

    for (guint i = 0; i < BATCH; i++)
        records[i] = (VmmRecord){ ((guint64)batch * BATCH + i) * REGION, REGION };
    answer = vmm_poison(vmm, "huge", records, BATCH);
    if (!json_object_has_member(answer, "code")) {
        g_assert_cmpint(json_object_get_int_member(answer, "failed_count"), ==, BATCH);
        return FALSE;
    }
    vmm_expect_error(answer, "policy-pages");
    return TRUE;
}

/*
 * Memory of base pages, behind the end of its file, that the VMM calls huge: nothing can be poisoned, but each
 * region gets its table.
 */
static void test_regions_called_huge(void)
{
    const gsize pages = (BATCHES * BATCH + 1) * (REGION / 4096);
    Session s = { .agent = test_agent_start(NULL), .ram = ram_new(RAM_SHMEM, pages) };
    guintptr start = ((guintptr)s.ram->address + REGION - 1) & ~(guintptr)(REGION - 1);
    long before = table_kib();
    guint n = 0;

    s.vmm = vmm_connect(s.agent->vmm);
    vmm_hello(s.vmm, "vm1", "");
    vmm_call_ok(s.vmm, -1, "layout",
                "\"blocks\":[{\"name\":\"huge\",\"host_virt_addr\":%" G_GUINTPTR_FORMAT
                ",\"size\":%llu,\"page_size\":2097152,\"kind\":\"hugetlb\",\"shared\":true}]",
                start, BATCHES * BATCH * REGION);
    ram_prepare(s.ram, 0, pages);
    g_assert_no_errno(ftruncate(s.ram->memfd, 4096));
    ram_begin(s.vmm, s.ram, 1);
    while (n < BATCHES && !poison_batch(s.vmm, n))
        n++;
    g_test_message("%u requests, %ld KiB of page tables", n, table_kib() - before);
    g_assert_cmpuint(n, ==, 8192 / BATCH - 1); /* and those of higher levels */
    g_assert_cmpint(table_kib() - before, >, n * BATCH * 4);
    session_end(&s);
}

#define PER_CHILD 8000u

typedef struct {
    TestAgent *agent;
    Ram *ram;         /* of the parent */
    guint first;      /* region */
    gboolean refused; /* is expected */
    int done[2];      /* pipe: a byte when it has its answer */
    int end[2];       /* pipe: closed when it shall exit */
} Child;

/* One page of its parent's memory in each of its regions. */
static void poison_parent(Vmm *vmm, const Child *child)
{
    g_autofree VmmRecord *records = g_new(VmmRecord, PER_CHILD);
    g_autoptr(JsonObject) answer = NULL;

    for (guint i = 0; i < PER_CHILD; i++)
        records[i] = (VmmRecord){ (child->first + i) * REGION, 4096 };
    answer = vmm_poison(vmm, "ram", records, PER_CHILD);
    if (child->refused)
        vmm_expect_error(answer, "policy-pages");
    else
        expect_poisoned(answer, PER_CHILD, 0);
}

static void poison_as_child(gpointer data)
{
    const Child *child = data;
    g_autoptr(Vmm) vmm = vmm_connect(child->agent->vmm);
    char byte;

    if (child->end[1] >= 0)
        close(child->end[1]);
    vmm_hello(vmm, "", "");
    ram_send_layout(vmm, child->ram, "ram");
    ram_begin(vmm, child->ram, 1);
    poison_parent(vmm, child);
    vmm_call_ok(vmm, -1, "poison-end", "%s", "");
    g_assert_no_errno(shutdown(vmm->fd, SHUT_WR));
    vmm_expect_eof(vmm); /* nothing of the connection is left in the agent */
    g_assert_cmpint(write(child->done[1], "", 1), ==, 1);
    g_assert_cmpint(read(child->end[0], &byte, 1), ==, 0);
}

static pid_t start_child(Child *child)
{
    pid_t pid = test_fork(poison_as_child, child);
    struct pollfd p = { .fd = child->done[0], .events = POLLIN };
    char byte;

    g_assert_cmpint(poll(&p, 1, DEADLINE_MS), ==, 1);
    g_assert_cmpint(read(child->done[0], &byte, 1), ==, 1);
    child->first += PER_CHILD;
    return pid;
}

/*
 * Two children of one VMM take all that a process may have each, in the memory of their parent: then nothing is
 * left for a third. Nor is there when they have ended: what they took is still there, in their parent.
 */
static void test_regions_of_children(void)
{
    const gsize pages = 4 * PER_CHILD * (REGION / 4096);
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Ram) ram = ram_new(RAM_SHMEM, pages);
    Child child = { .agent = agent, .ram = ram };
    long before = table_kib();
    pid_t pids[4];

    ram_prepare(ram, 0, pages);
    g_assert_no_errno(pipe2(child.done, O_CLOEXEC));
    g_assert_no_errno(pipe2(child.end, O_CLOEXEC));
    for (guint i = 0; i < 3; i++) {
        child.refused = i == 2;
        pids[i] = start_child(&child);
    }
    close(child.end[1]);
    child.end[1] = -1;
    for (guint i = 0; i < 3; i++)
        g_assert_cmpint(test_wait(pids[i]), ==, 0);
    pids[3] = start_child(&child);
    g_assert_cmpint(test_wait(pids[3]), ==, 0);
    g_assert_cmpint(table_kib() - before, >, 2 * PER_CHILD * 4);
    g_assert_cmpint(table_kib() - before, <=, 64 * 1024);
    close(child.end[0]);
    close(child.done[0]);
    close(child.done[1]);
}

/* The page size decides what a "page" is to the limits. */
static void test_page_size(void)
{
    Session s = session_begin(NULL);
    g_autoptr(JsonObject) answer =
        vmm_call(s.vmm, -1, "layout", "\"blocks\":[{\"name\":\"a\",\"host_virt_addr\":0,\"size\":1073741824,"
                                      "\"page_size\":1073741824,\"kind\":\"anonymous\",\"shared\":false}]");

    vmm_expect_error(answer, "bad-layout");
    session_end(&s);
}

/* What a vhost-user backend does not see is in the log; and a name there is just a name. */
static void test_unreached(void)
{
    Session s = session_begin(NULL);
    g_autofree char *before = NULL, *after = NULL;
    g_autoptr(JsonObject) answer = vmm_call(s.vmm, -1, "poison-end", "\"vhost_user_unreached\":[5]");

    vmm_expect_error(answer, "bad-member");
    before = test_agent_read_log(s.agent);
    g_assert_null(strstr(before, "vhost-user"));
    vmm_call_ok(s.vmm, -1, "poison-end", "\"vhost_user_unreached\":[\"net0\",\"\\u001b[31m\"]");
    after = test_agent_read_log(s.agent);
    g_assert_nonnull(strstr(after, "vhost-user backends, which may read zeros: 'net0', '\\x1b[31m'"));
    session_end(&s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!ram_kernel_can_poison()) {
        g_print("1..0 # SKIP this kernel has no UFFDIO_POISON\n");
        return 0;
    }
    g_test_add_func("/poison/anonymous", test_anonymous);
    g_test_add_func("/poison/shmem", test_shmem);
    g_test_add_func("/poison/hugetlb", test_hugetlb);
    g_test_add_func("/poison/partial", test_partial);
    g_test_add_func("/poison/many-failures", test_many_failures);
    g_test_add_func("/poison/unmapped", test_unmapped);
    g_test_add_func("/poison/max-ranges", test_max_ranges);
    g_test_add_func("/poison/policy", test_policy);
    g_test_add_func("/poison/policy-of-process", test_policy_of_process);
    g_test_add_func("/poison/regions", test_regions);
    g_test_add_func("/poison/regions-called-huge", test_regions_called_huge);
    g_test_add_func("/poison/regions-of-children", test_regions_of_children);
    g_test_add_func("/poison/page-size", test_page_size);
    g_test_add_func("/poison/unreached", test_unreached);
    return g_test_run();
}
