/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pattern, and how it is checked.
 *
 * Word i of page p in generation g is a mix of the three, so a page that was lost, zeroed, swapped with
 * another, or is from an older generation, is seen to be wrong. Generations are counted by the thread
 * that rewrites pages; the count is in this guest's memory too and moves with it.
 *
 * The answer of a check: {"checked_pages":N, "wrong_pages":N, "wrong":[first pages], "sigbus":[{"page":N,
 * "gpa":N, "offset":N, "si_code":"BUS_MCEERR_AR", "known":false}], "other_sigbus":N, "ao_signals":N}. `offset` is where
 * in the page the signal says the error is; `known` whether the kernel had marked the page before the
 * touch, in which case the touch never got as far as the memory.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <string.h>

#include "early.h"
#include "guest-pattern.h"

#define WORDS (GUEST_PAGE_SIZE / sizeof(uint64_t))
#define WRONG_LISTED 16

struct touch {
    sigjmp_buf back;
    uintptr_t from; /* a SIGBUS is expected in these addresses only */
    volatile uintptr_t address;
    volatile int code;
};

static uint32_t generation[GUEST_PAGES];
static _Thread_local struct touch touch;

static struct {
    pthread_t thread;
    atomic_bool stop;
    bool running;
    uint64_t rounds;
    unsigned char skip[GUEST_PAGES];
} dirty;

static void on_sigbus(int signal, siginfo_t *info, void *context)
{
    uintptr_t address = (uintptr_t)info->si_addr;

    (void)signal;
    (void)context;
    if (info->si_code == BUS_MCEERR_AO) {
        guest.ao_signals++;
        return;
    }
    if (!touch.from)
        early_die("SIGBUS code %d at %p outside of a check", info->si_code, info->si_addr);
    touch.address = address;
    touch.code = info->si_code;
    siglongjmp(touch.back, 1);
}

void handle_sigbus(void)
{
    struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

    if (sigaction(SIGBUS, &action, NULL) < 0)
        early_die("sigaction: %s", strerror(errno));
}

static uint64_t pattern(uint32_t page, uint32_t word)
{
    uint64_t base = ((uint64_t)page << 32 | generation[page]) * 0x9e3779b97f4a7c15ULL;

    return base + word * 0xd1342543de82ef95ULL;
}

void fill_page(uint32_t page)
{
    uint64_t *words = guest_page(page);
    uint64_t value = pattern(page, 0);
    uint64_t step = pattern(page, 1) - value;

    for (size_t i = 0; i < WORDS; i++, value += step)
        words[i] = value;
}

static bool page_is_right(uint32_t page)
{
    const volatile uint64_t *words = guest_page(page);
    uint64_t value = pattern(page, 0);
    uint64_t step = pattern(page, 1) - value;
    bool right = true;

    for (size_t i = 0; i < WORDS; i++, value += step)
        right &= words[i] == value;
    return right;
}

struct result {
    uint32_t checked;
    uint32_t wrong;
    uint32_t other_sigbus;
    uint32_t wrong_pages[WRONG_LISTED];
    uint32_t sigbus;
};

static const char *code_name(int code)
{
    switch (code) {
    case BUS_MCEERR_AR:
        return "BUS_MCEERR_AR";
    case BUS_ADRERR:
        return "BUS_ADRERR";
    case BUS_OBJERR:
        return "BUS_OBJERR";
    case SI_KERNEL:
        return "SI_KERNEL";
    default:
        return "other";
    }
}

static void report_sigbus(struct result *result, uint32_t page)
{
    uintptr_t start = (uintptr_t)guest_page(page);

    if (touch.address < start || touch.address >= start + GUEST_PAGE_SIZE)
        result->other_sigbus++;
    answer("%s{\"page\":%u,\"gpa\":%llu,\"offset\":%lld,\"si_code\":\"%s\",\"known\":%s}",
           result->sigbus++ ? "," : "", page, (unsigned long long)guest.pages[page].gpa,
           (long long)(touch.address - start), code_name(touch.code),
           guest.pages[page].mapped ? "false" : "true");
}

static void check_page(struct result *result, uint32_t page)
{
    result->checked++;
    touch.from = (uintptr_t)guest_page(page);
    if (sigsetjmp(touch.back, 1) != 0) {
        touch.from = 0;
        report_sigbus(result, page);
    } else if (!page_is_right(page)) {
        if (result->wrong < WRONG_LISTED)
            result->wrong_pages[result->wrong] = page;
        result->wrong++;
    }
    touch.from = 0;
}

static void begin_result(void)
{
    look_up_pages();
    answer("{\"sigbus\":[");
}

static void end_result(const struct result *result)
{
    answer("],\"wrong\":[");
    for (uint32_t i = 0; i < result->wrong && i < WRONG_LISTED; i++)
        answer("%s%u", i ? "," : "", result->wrong_pages[i]);
    answer("],\"checked_pages\":%u,\"wrong_pages\":%u,\"other_sigbus\":%u,\"ao_signals\":%d}",
           result->checked, result->wrong, result->other_sigbus, guest.ao_signals);
}

void check_only(const struct page_list *list)
{
    struct result result = { 0 };

    begin_result();
    for (uint32_t i = 0; i < list->count; i++)
        check_page(&result, list->pages[i]);
    end_result(&result);
}

static void mark(unsigned char *marks, const struct page_list *list)
{
    memset(marks, 0, GUEST_PAGES);
    for (uint32_t i = 0; i < list->count; i++)
        marks[list->pages[i]] = 1;
}

void check_all_but(const struct page_list *list)
{
    static unsigned char skip[GUEST_PAGES];
    struct result result = { 0 };

    mark(skip, list);
    begin_result();
    for (uint32_t page = 0; page < GUEST_PAGES; page++)
        if (!skip[page])
            check_page(&result, page);
    end_result(&result);
}

static void *dirty_loop(void *unused)
{
    struct sched_param parameters = { 0 };

    (void)unused;
    /* There is one processor: commands go first. */
    sched_setscheduler(0, SCHED_IDLE, &parameters);
    while (!atomic_load(&dirty.stop)) {
        for (uint32_t page = 0; page < GUEST_PAGES && !atomic_load(&dirty.stop); page++) {
            if (dirty.skip[page])
                continue;
            generation[page]++;
            fill_page(page);
        }
        dirty.rounds++;
    }
    return NULL;
}

void dirty_start(const struct page_list *but)
{
    if (dirty.running) {
        answer("{\"error\":%d}", EBUSY);
        return;
    }
    mark(dirty.skip, but);
    dirty.rounds = 0;
    atomic_store(&dirty.stop, false);
    dirty.running = true;
    errno = pthread_create(&dirty.thread, NULL, dirty_loop, NULL);
    if (errno)
        early_die("pthread_create: %s", strerror(errno));
    answer("{\"error\":0}");
}

void rewrite(const struct page_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        generation[list->pages[i]]++;
        fill_page(list->pages[i]);
    }
    answer("{\"rewritten\":%u}", list->count);
}

void dirty_stop(void)
{
    if (dirty.running) {
        atomic_store(&dirty.stop, true);
        pthread_join(dirty.thread, NULL);
        dirty.running = false;
    }
    answer("{\"rounds\":%llu}", (unsigned long long)dirty.rounds);
}
