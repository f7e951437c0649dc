/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Poison requests in worker threads
 *
 * UFFDIO_POISON takes a lock of the VMM's address space, which a hostile VMM can hold for as long as
 * it likes. So the main loop never makes that call: it makes a job of the request and goes on with
 * the other guests. The worker reads and checks the records, asks policy, poisons, and sends the
 * answer by itself, which saves the VMM from waiting until the main loop wakes up.
 *
 * Ownership. From poison_pool_submit() until "done" is called in the main thread, the worker alone
 * uses the job, its memfd, and the sending side of the socket. The connection keeps the socket and
 * the userfaultfd open until then, whatever happens to it, and sends nothing. Everything else that
 * the job needs is a copy.
 *
 * The pool may have a thread for each connection there can be, so that stuck ones starve nobody. Threads
 * come with the work, and end after half a second without: an idle agent has none.
 */
#include "poison-job.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "poison.h"
#include "ranges.h"
#include "util/fd-check.h"
#include "util/frame.h"
#include "util/main-thread.h"
#include "util/proto-error.h"

struct PoisonPool {
    GThreadPool *threads;
};

static gboolean check_memfd(const PoisonJob *job, GError **error)
{
    guint64 size = (guint64)job->count * sizeof(Range);
    int r = fd_check_sealed_memfd(job->memfd, size);

    if (r == 0)
        return TRUE;
    if (r == -EMSGSIZE)
        g_set_error(error, PROTO_ERROR, PROTO_ERROR_BAD_COUNT,
                    "poison: the memfd has not %" G_GUINT64_FORMAT " bytes (count %u)", size, job->count);
    else
        g_set_error(error, PROTO_ERROR, PROTO_ERROR_NOT_SEALED_MEMFD,
                    "poison: not a memfd sealed with SHRINK, GROW and WRITE");
    return FALSE;
}

static Range *read_ranges(const PoisonJob *job, GError **error)
{
    g_autofree Range *ranges = NULL;
    int r;

    if (!check_memfd(job, error))
        return NULL;
    ranges = g_new(Range, job->count);
    r = fd_pread_all(job->memfd, ranges, job->count * sizeof(Range));
    if (r < 0) {
        g_set_error(error, PROTO_ERROR, PROTO_ERROR_INTERNAL, "poison: reading the memfd: %s",
                    g_strerror(-r));
        return NULL;
    }
    ranges_from_le(ranges, job->count);
    return g_steal_pointer(&ranges);
}

static void job_carry_out(PoisonJob *job)
{
    g_autofree Range *ranges = read_ranges(job, &job->error);
    guint64 pages, tables;

    if (!ranges || !ranges_check(ranges, job->count, &job->block, &pages, &tables, &job->error) ||
        !account_reserve(job->account, &job->policy, job->held, pages, tables, &job->error))
        return;
    poison_ranges(job->uffd, &job->block, ranges, job->count, &job->result);
    account_give_back(job->account, pages - job->result.bytes_done / layout_base_page());
}

static void job_answer(PoisonJob *job)
{
    g_autofree char *body =
        job->error ? vmm_answer_error(job->id, job->error) : vmm_answer_poisoned(job->id, &job->result);
    gsize size = strlen(body);

    job->answered = frame_send(job->sock, body, size, 0) == (ssize_t)(FRAME_HEADER_SIZE + size);
}

static gboolean job_finish(gpointer data)
{
    PoisonJob *job = data;

    job->done(job, job->user_data);
    return G_SOURCE_REMOVE;
}

static void job_run(gpointer data, gpointer user_data)
{
    PoisonJob *job = data;

    job_carry_out(job);
    close(job->memfd); /* perhaps something else, which may block (closer.c) */
    job->memfd = -1;
    job_answer(job);
    main_thread_call(job_finish, job);
}

/**
 * poison_job_new() - a job without descriptors
 * @block: the block to be poisoned; copied
 *
 * Return: a job for the caller to fill in; to be freed with poison_job_free().
 */
PoisonJob *poison_job_new(const RamBlock *block)
{
    PoisonJob *job = g_new0(PoisonJob, 1);

    job->sock = job->uffd = job->memfd = -1;
    ram_block_copy(&job->block, block);
    return job;
}

/**
 * poison_job_free() - free a job that no worker has
 * @job: the job, or NULL
 */
void poison_job_free(PoisonJob *job)
{
    if (!job)
        return;
    if (job->memfd >= 0)
        close(job->memfd);
    ram_block_clear(&job->block);
    g_clear_error(&job->error);
    g_free(job);
}

/**
 * poison_pool_new() - a pool without threads
 * @max_threads: most that it may come to have
 * @error: the pool could not be made
 */
PoisonPool *poison_pool_new(guint max_threads, GError **error)
{
    GThreadPool *threads = g_thread_pool_new(job_run, NULL, (gint)max_threads, FALSE, error);
    PoisonPool *pool;

    if (!threads)
        return NULL;
    g_thread_pool_set_max_unused_threads(0);
    pool = g_new0(PoisonPool, 1);
    pool->threads = threads;
    return pool;
}

/**
 * poison_pool_allow() - let there be more threads
 * @pool: the pool
 * @max_threads: most that it may come to have from now on; no change if it may have more already, as threads
 *               that hang would then leave none for others
 */
void poison_pool_allow(PoisonPool *pool, guint max_threads)
{
    if ((gint)max_threads <= g_thread_pool_get_max_threads(pool->threads))
        return;
    g_thread_pool_set_max_threads(pool->threads, (gint)max_threads, NULL);
}

/**
 * poison_pool_free() - free a pool that has nothing to do
 * @pool: the pool, or NULL
 */
void poison_pool_free(PoisonPool *pool)
{
    if (!pool)
        return;
    g_thread_pool_free(pool->threads, FALSE, TRUE);
    g_free(pool);
}

/**
 * poison_pool_submit() - let a worker do a job
 * @pool: the pool
 * @job: a complete job; lent to the worker until job->done() is called, in the main thread
 *
 * If no thread can be started now, the job waits for one that becomes free.
 */
void poison_pool_submit(PoisonPool *pool, PoisonJob *job)
{
    g_thread_pool_push(pool->threads, job, NULL);
}
