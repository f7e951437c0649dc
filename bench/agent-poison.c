/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * agent-poison: what does it cost to have the agent do it?
 *
 * The same ranges of the same memory are poisoned in two ways, in turns: by a bare loop of UFFDIO_POISON
 * in this process, and by a request to a real hwpoisond (memfd, message, worker, answer). Counts from one
 * page to a hundred thousand, as one run or scattered (every 16th page, a range each). Between two
 * measurements the markers are dropped again, and everything stays registered. Taking turns makes both
 * sides see the same machine; what counts is the ratio of the medians. On a machine that is busy with other
 * things, handing over to another process means queueing for a CPU: the ratio of the shortest times, printed
 * beside it, shows the cost without that. Each round has an agent of its own, because an agent remembers how
 * much a process has ever had poisoned.
 *
 * "session" is the request plus poison-begin and poison-end, as a migration has it once.
 *
 * Reads HWPOISOND from the environment. --json prints one object, --rounds N changes the repetitions.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <fcntl.h>
#include <unistd.h>

#include "test-agent.h"
#include "test-vmm.h"
#include "util/uffd.h"

#define PAGE       4096u
#define STRIDE     16u
#define MAX_PAGES  100000u
#define MAX_RANGES 65536u

static gboolean arg_json;
static int arg_rounds = 21;

static const GOptionEntry options[] = {
    { "json", 'j', 0, G_OPTION_ARG_NONE, &arg_json, "Print one JSON object", NULL },
    { "rounds", 'r', 0, G_OPTION_ARG_INT, &arg_rounds, "Measurements per case (default 21)", "N" },
    G_OPTION_ENTRY_NULL,
};

typedef struct {
    char *memory;
    gsize size;
    int uffd;
    TestAgent *agent;
    Vmm *vmm;
    VmmRecord *records;
    guint n;
} Bench;

static void set_up_memory(Bench *b)
{
    struct uffdio_api api = { .api = UFFD_API };
    struct uffdio_register reg;

    b->size = (gsize)MAX_PAGES * STRIDE * PAGE;
    b->memory = mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    g_assert_true(b->memory != MAP_FAILED);
    b->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    g_assert_no_errno(b->uffd);
    g_assert_no_errno(ioctl(b->uffd, UFFDIO_API, &api));
    reg = (struct uffdio_register){ .range = { (guintptr)b->memory, b->size },
                                    .mode = UFFDIO_REGISTER_MODE_MISSING };
    g_assert_no_errno(ioctl(b->uffd, UFFDIO_REGISTER, &reg));
}

static void set_up_guest(Bench *b)
{
    vmm_hello(b->vmm, "bench", "");
    vmm_call_ok(b->vmm, -1, "layout",
                "\"blocks\":[{\"name\":\"ram\",\"host_virt_addr\":%" G_GUINTPTR_FORMAT ",\"size\":%" G_GSIZE_FORMAT
                ",\"page_size\":4096,\"kind\":\"anonymous\",\"shared\":false}]",
                (guintptr)b->memory, b->size);
}

static void set_ranges(Bench *b, guint pages, gboolean scattered)
{
    b->n = scattered ? pages : 1;
    b->records[0] = (VmmRecord){ 0, (guint64)pages * PAGE };
    for (guint i = 0; scattered && i < pages; i++)
        b->records[i] = (VmmRecord){ (guint64)i * STRIDE * PAGE, PAGE };
}

static void drop_markers(Bench *b)
{
    g_assert_no_errno(madvise(b->memory, b->size, MADV_DONTNEED));
}

static void poison_bare(Bench *b)
{
    for (guint i = 0; i < b->n; i++) {
        struct uffdio_poison arg = { .range = { (guintptr)b->memory + b->records[i].offset,
                                                b->records[i].length } };

        g_assert_no_errno(ioctl(b->uffd, UFFDIO_POISON, &arg));
    }
}

/* As a VMM in a hurry does it: looks at no more of the answer than it must. */
static void expect_done(Bench *b)
{
    char answer[4096];
    guint32 size;

    g_assert_cmpint(recv(b->vmm->fd, &size, sizeof(size), MSG_WAITALL), ==, sizeof(size));
    size = GUINT32_FROM_LE(size);
    g_assert_cmpuint(size, <, sizeof(answer));
    g_assert_cmpint(recv(b->vmm->fd, answer, size, MSG_WAITALL), ==, size);
    answer[size] = '\0';
    g_assert_nonnull(strstr(answer, "\"failed_count\":0"));
}

static void poison_by_agent(Bench *b)
{
    for (guint done = 0; done < b->n; done += MAX_RANGES) {
        vmm_request_poison(b->vmm, "ram", b->records + done, MIN(b->n - done, MAX_RANGES));
        expect_done(b);
    }
}

static void begin(Bench *b)
{
    vmm_call_ok(b->vmm, b->uffd, "poison-begin", "\"pages\":0");
}

static void end(Bench *b)
{
    vmm_call_ok(b->vmm, -1, "poison-end", "%s", "");
}

static double us_since(gint64 start_ns)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return ((double)now.tv_sec * 1e9 + (double)now.tv_nsec - (double)start_ns) / 1e3;
}

static gint64 now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (gint64)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

typedef struct {
    double median, shortest;
} Times;

typedef struct {
    Times bare, agent, session;
} Result;

static Times times_of(double *values, guint n)
{
    qsort(values, n, sizeof(*values), by_value);
    return (Times){ .median = values[n / 2], .shortest = values[0] };
}

static void time_bare(Bench *b, double *ret_us)
{
    gint64 start;

    drop_markers(b);
    start = now_ns();
    poison_bare(b);
    *ret_us = us_since(start);
}

static void time_agent(Bench *b, double *ret_us)
{
    gint64 start;

    drop_markers(b);
    begin(b);
    start = now_ns();
    poison_by_agent(b);
    *ret_us = us_since(start);
    end(b);
}

static void time_session(Bench *b, double *ret_us)
{
    gint64 start;

    drop_markers(b);
    start = now_ns();
    begin(b);
    poison_by_agent(b);
    end(b);
    *ret_us = us_since(start);
}

static void agent_stop(Bench *b)
{
    g_clear_pointer(&b->vmm, vmm_close);
    g_clear_pointer(&b->agent, test_agent_free);
}

/* A new agent that has served one range already */
static void agent_renew(Bench *b)
{
    guint n = b->n;

    agent_stop(b);
    b->agent = test_agent_start("[log]\nlevel=error\n");
    b->vmm = vmm_connect(b->agent->vmm);
    set_up_guest(b);
    drop_markers(b);
    begin(b);
    b->n = 1;
    poison_by_agent(b);
    b->n = n;
    end(b);
}

static Result measure(Bench *b)
{
    guint n = (guint)arg_rounds;
    g_autofree double *bare = g_new(double, n), *agent = g_new(double, n), *session = g_new(double, n);

    for (int i = -1; i < arg_rounds; i++) { /* one round to warm up */
        agent_renew(b);
        time_bare(b, &bare[MAX(i, 0)]);
        time_agent(b, &agent[MAX(i, 0)]);
        time_session(b, &session[MAX(i, 0)]);
    }
    return (Result){ times_of(bare, n), times_of(agent, n), times_of(session, n) };
}

static void report(guint pages, guint ranges, gboolean scattered, const Result *r, gboolean first)
{
    double ratio = r->bare.median / r->agent.median, best = r->bare.shortest / r->agent.shortest;
    const char *shape = scattered ? "scattered" : "run";

    if (arg_json)
        printf("%s\n  {\"pages\": %u, \"shape\": \"%s\", \"ranges\": %u, \"bare_us\": %.1f, \"agent_us\": %.1f,"
               " \"session_us\": %.1f, \"ratio\": %.3f, \"ratio_of_shortest\": %.3f}",
               first ? "" : ",", pages, shape, ranges, r->bare.median, r->agent.median, r->session.median, ratio,
               best);
    else
        printf("%7u  %-9s %7u %10.1f %10.1f %10.1f %8.0f %% %8.0f %%\n", pages, shape, ranges, r->bare.median,
               r->agent.median, r->session.median, 100 * ratio, 100 * best);
}

static void run_all(Bench *b)
{
    static const guint counts[] = { 1, 100, 10000, MAX_PAGES };

    for (guint i = 0; i < 2 * G_N_ELEMENTS(counts); i++) {
        guint pages = counts[i / 2];
        gboolean scattered = i % 2;
        Result r;

        if (pages == 1 && scattered)
            continue;
        set_ranges(b, pages, scattered);
        r = measure(b);
        report(pages, b->n, scattered, &r, i == 0);
    }
}

int main(int argc, char **argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;
    Bench b = { .records = g_new(VmmRecord, MAX_PAGES) };

    g_option_context_add_main_entries(context, options, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) || arg_rounds < 1) {
        fprintf(stderr, "agent-poison: %s\n", error ? error->message : "--rounds is not positive");
        return 2;
    }
    if (!g_getenv("HWPOISOND") || !uffd_kernel_can_poison()) {
        fprintf(stderr, "agent-poison: HWPOISOND is not set, or this kernel has no UFFDIO_POISON\n");
        return 77;
    }
    set_up_memory(&b);
    if (arg_json)
        printf("{\"benchmark\": \"agent-poison\", \"rounds\": %d, \"results\": [", arg_rounds);
    else
        printf("%7s  %-9s %7s %10s %10s %10s %10s %10s\n", "pages", "shape", "ranges", "bare us", "agent us",
               "session us", "bare/agent", "(shortest)");
    run_all(&b);
    if (arg_json)
        printf("\n]}\n");
    agent_stop(&b);
    g_free(b.records);
    return EXIT_SUCCESS;
}
