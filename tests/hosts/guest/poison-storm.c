/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Poisoning and touching as fast as can be; see poison-storm.h. */
#include "poison-storm.h"

#include "kernel-log.h"
#include "poison-sources.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define TOUCHES_PER_ROUND 8
#define HEALED            0x5a

/* The log has room for some thousand lines. */
#define LOG_READ_INTERVAL_NS 1000000

struct worker {
    pthread_t thread;
    char *page;
    size_t size;
    int uffd;
    struct poison_storm result;
};

static atomic_bool over;

static void touch(struct worker *worker, unsigned nth)
{
    volatile char *byte = worker->page + nth * 64;

    worker->result.touches++;
    if (sigsetjmp(after_sigbus, 0)) {
        if (last_sigbus.si_code == BUS_MCEERR_AR && last_sigbus.si_addr == byte)
            worker->result.sigbus++;
    } else if (nth % 2) {
        *byte = 1;
    } else {
        (void)*byte;
    }
}

/* By turns, the page is made new or given contents; the latter must be there. */
static void heal(struct worker *worker, const char *contents)
{
    if (worker->result.rounds % 2) {
        poison_heal(worker->uffd, worker->page, contents, worker->size);
        if (memcmp(worker->page, contents, worker->size) != 0) {
            errno = EIO;
            fail("the contents of a page that was healed");
        }
    }
    if (madvise(worker->page, worker->size, MADV_DONTNEED) < 0)
        fail("MADV_DONTNEED");
}

static void *work(void *data)
{
    struct worker *worker = data;
    char *contents = malloc(worker->size);

    if (!contents)
        fail("malloc");
    memset(contents, HEALED, worker->size);
    while (!over) {
        poison_again(worker->uffd, worker->page, worker->size);
        for (unsigned nth = 0; nth < TOUCHES_PER_ROUND; nth++)
            touch(worker, nth);
        heal(worker, contents);
        worker->result.rounds++;
    }
    free(contents);
    return NULL;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void watch(unsigned long seconds, struct kernel_log *log)
{
    const struct timespec interval = { .tv_nsec = LOG_READ_INTERVAL_NS };
    double end = now() + (double)seconds;

    while (now() < end) {
        if (log)
            kernel_log_read(log);
        nanosleep(&interval, NULL);
    }
}

static void start(struct worker *worker)
{
    worker->size = poison_page_size(false);
    worker->page = poison_map_page(worker->size, false);
    worker->uffd = poison_register(worker->page, worker->size, 0);
    errno = pthread_create(&worker->thread, NULL, work, worker);
    if (errno)
        fail("pthread_create");
}

struct poison_storm poison_storm(unsigned long seconds, struct kernel_log *log)
{
    struct worker workers[POISON_STORM_THREADS] = { 0 };
    struct poison_storm all = { 0 };

    for (unsigned i = 0; i < POISON_STORM_THREADS; i++)
        start(&workers[i]);
    watch(seconds, log);
    over = true;
    for (unsigned i = 0; i < POISON_STORM_THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        close(workers[i].uffd);
        all.rounds += workers[i].result.rounds;
        all.touches += workers[i].result.touches;
        all.sigbus += workers[i].result.sigbus;
    }
    if (log)
        kernel_log_read(log);
    return all;
}
