/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Closing what strangers sent
 *
 * The last close() of a file can block for as long as its maker likes: a TCP socket that lingers, a file of
 * a FUSE or network file system, a userfaultfd of an address space that is locked or has to be torn down.
 * And the last close() of a Unix socket closes the descriptors in its unread messages. So nothing that a
 * peer sent, and no connection with unread messages, is closed in the main loop; a thread here does it, and
 * one that hangs holds up nobody but its peer. It is the caller who bounds how many there are: by counting
 * each job until it is done.
 *
 * Most waits of the kernel end when a signal is pending; that of a socket that lingers does. So as long as there
 * is something to do each thread gets one that does nothing, 20 milliseconds after the last job came, and then
 * in intervals that double up to a second. Some waits end for no signal (FUSE); those threads stay.
 *
 * Threads come with the work and end after half a second without; an idle agent has none, and no timer.
 */
#include "closer.h"

#include <linux/sockios.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "main-thread.h"

#define NUDGE            SIGURG /* ignored by default: one that comes too early or late is harmless */
#define FIRST_NUDGE_MS   20u
#define SLOWEST_NUDGE_MS 1000u

struct Closer {
    GThreadPool *threads;
    guint jobs;         /* not done yet */
    guint nudge;        /* source id of the timer, or 0 */
    guint interval_ms;  /* of it */
    GMutex lock;
    GPtrArray *running; /* Job that a thread has, not owned; under the lock */
};

typedef struct {
    Closer *closer;
    pthread_t thread; /* if it is running */
    GArray *fds;
    CloserDone done;
    gpointer user_data;
} Job;

static gboolean job_finish(gpointer data)
{
    Job *job = data;

    job->closer->jobs--;
    job->done(job->user_data);
    g_array_unref(job->fds);
    g_free(job);
    return G_SOURCE_REMOVE;
}

/* From now on the thread may be sent signals. */
static void enter_job(Job *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->closer->lock);

    job->thread = pthread_self();
    g_ptr_array_add(job->closer->running, job);
}

static void leave_job(Job *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->closer->lock);

    g_ptr_array_remove_fast(job->closer->running, job);
}

static void job_run(gpointer data, gpointer user_data)
{
    Job *job = data;

    enter_job(job);
    for (guint i = 0; i < job->fds->len; i++)
        close(g_array_index(job->fds, int, i));
    leave_job(job);
    main_thread_call(job_finish, job);
}

static void nudge_threads(Closer *closer)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&closer->lock);

    for (guint i = 0; i < closer->running->len; i++) {
        const Job *job = g_ptr_array_index(closer->running, i);

        pthread_kill(job->thread, NUDGE);
    }
}

static void start_nudging(Closer *closer, guint interval_ms);

static gboolean on_nudge(gpointer user_data)
{
    Closer *closer = user_data;

    closer->nudge = 0;
    nudge_threads(closer);
    if (closer->jobs > 0)
        start_nudging(closer, MIN(2 * closer->interval_ms, SLOWEST_NUDGE_MS));
    return G_SOURCE_REMOVE;
}

/* Nudges when the interval has passed, or sooner. */
static void start_nudging(Closer *closer, guint interval_ms)
{
    if (closer->nudge != 0 && closer->interval_ms <= interval_ms)
        return; /* or else who sends one job after the other would put it off for ever */
    if (closer->nudge != 0)
        g_source_remove(closer->nudge);
    closer->interval_ms = interval_ms;
    closer->nudge = g_timeout_add(interval_ms, on_nudge, closer);
}

static void do_nothing(int number)
{
}

/* Not SA_RESTART: no call shall go on that a nudge ended. */
static void catch_nudges(void)
{
    const struct sigaction action = { .sa_handler = do_nothing };

    sigaction(NUDGE, &action, NULL);
}

/**
 * closer_new() - a closer without threads
 * @max_threads: most that it may come to have
 * @error: it could not be made
 */
Closer *closer_new(guint max_threads, GError **error)
{
    GThreadPool *threads = g_thread_pool_new(job_run, NULL, (gint)max_threads, FALSE, error);
    Closer *closer;

    if (!threads)
        return NULL;
    g_thread_pool_set_max_unused_threads(0);
    catch_nudges();
    closer = g_new0(Closer, 1);
    closer->threads = threads;
    g_mutex_init(&closer->lock);
    closer->running = g_ptr_array_new();
    return closer;
}

/**
 * closer_allow() - let there be more threads
 * @closer: the closer
 * @max_threads: most that it may come to have from now on; no change if it may have more already, as threads
 *               that hang would then leave none for others
 */
void closer_allow(Closer *closer, guint max_threads)
{
    if ((gint)max_threads <= g_thread_pool_get_max_threads(closer->threads))
        return;
    g_thread_pool_set_max_threads(closer->threads, (gint)max_threads, NULL);
}

/**
 * closer_free() - free a closer that has nothing to do
 * @closer: the closer, or NULL
 */
void closer_free(Closer *closer)
{
    if (!closer)
        return;
    g_thread_pool_free(closer->threads, FALSE, TRUE);
    if (closer->nudge != 0)
        g_source_remove(closer->nudge);
    g_ptr_array_unref(closer->running);
    g_mutex_clear(&closer->lock);
    g_free(closer);
}

/**
 * closer_close() - close descriptors in a thread
 * @closer: the closer
 * @fds: int; the closer takes over the array and the descriptors
 * @done: called in the main thread when all are closed, perhaps never
 * @user_data: for @done
 *
 * To be called in the main thread.
 */
void closer_close(Closer *closer, GArray *fds, CloserDone done, gpointer user_data)
{
    Job *job = g_new0(Job, 1);

    *job = (Job){ .closer = closer, .fds = fds, .done = done, .user_data = user_data };
    closer->jobs++;
    g_thread_pool_push(closer->threads, job, NULL);
    start_nudging(closer, FIRST_NUDGE_MS);
}

/**
 * closer_close_if_harmless() - close a connection here and now, if that cannot block
 * @sock: a connected Unix stream socket; ours to close if the result is TRUE
 *
 * Descriptors travel with bytes. After the shutdown none can come any more, so without unread bytes there are
 * none. The peer learns of the end in any case.
 *
 * Return: FALSE if it has to be left to closer_close().
 */
gboolean closer_close_if_harmless(int sock)
{
    int unread = 0;

    shutdown(sock, SHUT_RDWR);
    if (ioctl(sock, SIOCINQ, &unread) < 0 || unread > 0)
        return FALSE;
    close(sock);
    return TRUE;
}
