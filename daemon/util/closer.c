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
 * Threads come with the work and end after half a second without; an idle agent has none.
 */
#include "closer.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct Closer {
    GThreadPool *threads;
};

typedef struct {
    GArray *fds;
    CloserDone done;
    gpointer user_data;
} Job;

static gboolean job_finish(gpointer data)
{
    Job *job = data;

    job->done(job->user_data);
    g_array_unref(job->fds);
    g_free(job);
    return G_SOURCE_REMOVE;
}

static void job_run(gpointer data, gpointer user_data)
{
    g_autoptr(GSource) source = g_idle_source_new();
    Job *job = data;

    for (guint i = 0; i < job->fds->len; i++)
        close(g_array_index(job->fds, int, i));
    g_source_set_priority(source, G_PRIORITY_HIGH);
    g_source_set_callback(source, job_finish, job, NULL);
    g_source_attach(source, NULL);
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
    closer = g_new0(Closer, 1);
    closer->threads = threads;
    return closer;
}

/**
 * closer_set_max() - change how many threads there may be
 * @closer: the closer
 * @max_threads: most that it may come to have from now on
 */
void closer_set_max(Closer *closer, guint max_threads)
{
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
    g_free(closer);
}

/**
 * closer_close() - close descriptors in a thread
 * @closer: the closer
 * @fds: int; the closer takes over the array and the descriptors
 * @done: called in the main thread when all are closed, perhaps never
 * @user_data: for @done
 */
void closer_close(Closer *closer, GArray *fds, CloserDone done, gpointer user_data)
{
    Job *job = g_new0(Job, 1);

    *job = (Job){ .fds = fds, .done = done, .user_data = user_data };
    g_thread_pool_push(closer->threads, job, NULL);
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
