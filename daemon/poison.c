/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Poisoning memory of another process
 *
 * One UFFDIO_POISON for each range. The kernel goes page by page and stops at the first that it
 * cannot poison. Its answer then is the reason if that was the first page of the call, or EAGAIN
 * with the number of bytes done ("updated"): the loop goes on behind those, and the next call
 * meets the same page first and names the reason.
 *
 * EAGAIN without progress means that the VMM's address space is being changed (fork, mremap) or that
 * a page table appeared meanwhile. It passes within microseconds, unless the VMM wants it to last: a
 * userfaultfd that asked for events stays in that state until somebody reads them. So there is one
 * budget of waiting for the whole request, after which ranges fail with EAGAIN.
 *
 * A range that fails does not end the request: the VMM wants to know about each. The calls can block
 * on the VMM's address space for as long as the VMM likes, which is why all this runs in a worker.
 */
#include "poison.h"

#include <errno.h>
#include <sched.h>
#include <sys/ioctl.h>

#include "util/uffd.h"

#define BUSY_BUDGET_US     (1 * G_USEC_PER_SEC)
#define SPINS_BEFORE_SLEEP 100u

typedef struct {
    guint spins;
    gint64 since; /* monotonic time of the first wait, 0: none yet */
} Patience;

/* Waits a moment; FALSE if the request has waited long enough. */
static gboolean wait_a_moment(Patience *patience)
{
    if (patience->since == 0)
        patience->since = g_get_monotonic_time();
    if (g_get_monotonic_time() - patience->since > BUSY_BUDGET_US)
        return FALSE;
    if (++patience->spins < SPINS_BEFORE_SLEEP)
        sched_yield();
    else
        g_usleep(200);
    return TRUE;
}

/* One call; returns 0 or an errno, and in any case how many bytes were poisoned. */
static int poison_call(int uffd, guint64 start, guint64 length, guint64 *ret_done)
{
    struct uffdio_poison arg = { .range = { .start = start, .len = length } };

    if (ioctl(uffd, UFFDIO_POISON, &arg) == 0) {
        *ret_done = length;
        return 0;
    }
    *ret_done = arg.updated > 0 ? MIN((guint64)arg.updated, length) : 0;
    return errno;
}

/* Poisons one range; returns 0 or an errno, and how many bytes were poisoned. */
static int poison_range(int uffd, guint64 start, guint64 length, Patience *patience, guint64 *ret_done)
{
    *ret_done = 0;
    while (*ret_done < length) {
        guint64 done;
        int r = poison_call(uffd, start + *ret_done, length - *ret_done, &done);

        *ret_done += done;
        if (r == EAGAIN && (done > 0 || wait_a_moment(patience)))
            continue;
        if (r != 0 && r != EINTR)
            return r;
    }
    return 0;
}

static void note_failure(VmmPoisoned *result, guint32 index, int errnum, guint64 done)
{
    if (result->failed_count < VMM_MAX_FAILURES)
        result->failed[result->failed_count] = (VmmFailure){ .index = index, .errnum = errnum, .done = done };
    result->failed_count++;
}

/**
 * poison_ranges() - carry out a poison request
 * @uffd: a userfaultfd
 * @block: the block
 * @ranges: ranges that ranges_check() allows
 * @n: how many
 * @ret_result: what came of each; overwritten
 *
 * May block for as long as the owner of the memory likes.
 */
void poison_ranges(int uffd, const RamBlock *block, const Range *ranges, guint n, VmmPoisoned *ret_result)
{
    Patience patience = { 0 };
    guint64 bytes = 0, bytes_done = 0;

    ret_result->ranges = n;
    ret_result->failed_count = 0;
    for (guint i = 0; i < n; i++) {
        guint64 done, length = ranges[i].length;
        int r = poison_range(uffd, block->address + ranges[i].offset, length, &patience, &done);

        bytes += length;
        bytes_done += done;
        if (r != 0)
            note_failure(ret_result, i, r, done);
    }
    ret_result->bytes_done = bytes_done;
    ret_result->pages_done = bytes_done / ram_block_unit(block);
    ret_result->pages_failed = (bytes - bytes_done) / ram_block_unit(block);
}
