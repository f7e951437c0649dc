/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One VMM's connection
 *
 * Bytes in, answers out, and the end of it. The agent answers each request before it reads the
 * next, so nothing is queued: an answer of a few kilobytes always fits the socket of a peer that
 * has read the one before, and a peer whose socket is full has broken the protocol and is
 * disconnected. A frame in the making is all that a connection can make us hold.
 *
 * While a worker carries out a poison request, or closes descriptors, the connection is "busy" and has no event
 * source: not even its hang-up is looked at until the worker is done. Whatever the VMM sent is closed by a
 * worker (closer.c), and an answer that promises it (poison-end) is sent after that.
 */
#include "vmm-conn.h"

#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/json-strict.h"
#include "util/proto-error.h"

#define HELLO_DEADLINE_MS 10000u

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

static gboolean on_readable(gint fd, GIOCondition condition, gpointer user_data);

static const Peer *peer_of(const VmmConn *conn)
{
    return conn->guest ? &conn->guest->peer : &conn->peer;
}

/**
 * vmm_conn_log() - log something that this VMM caused
 * @conn: the connection
 * @level: as for log_agent()
 * @format: printf-like
 */
void vmm_conn_log(VmmConn *conn, GLogLevelFlags level, const char *format, ...)
{
    g_autofree char *label = conn->guest ? guest_label(conn->guest) : g_strdup("(no hello yet)");
    g_autofree char *message = NULL;
    va_list args;

    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    log_guest(&conn->bucket, level, label, peer_of(conn)->pid, "%s", message);
}

static void clear_source(guint *id)
{
    if (*id != 0)
        g_source_remove(*id);
    *id = 0;
}

static gboolean on_hello_deadline(gpointer user_data)
{
    VmmConn *conn = user_data;

    conn->deadline = 0;
    vmm_conn_log(conn, G_LOG_LEVEL_WARNING, "disconnected: no hello within %u seconds",
                 HELLO_DEADLINE_MS / 1000);
    vmm_conn_close(conn);
    return G_SOURCE_REMOVE;
}

/**
 * vmm_conn_accept_fds() - may descriptors be sent on a socket?
 * @fd: a Unix socket; connections that a listening one accepts are like it
 * @accept: with FALSE, the kernel (6.16 or newer) refuses them to the sender, so that none get here
 */
void vmm_conn_accept_fds(int fd, gboolean accept)
{
    int value = accept;

    setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &value, sizeof(value));
}

/**
 * vmm_conn_new() - begin to serve a connection
 * @server: the server
 * @fd: the connected socket, non-blocking; owned by the connection
 * @peer: who it is; moved into the connection
 * @cgroup: see peer_cgroup()
 *
 * Return: the connection, already in the server's list.
 */
VmmConn *vmm_conn_new(VmmServer *server, int fd, Peer *peer, const char *cgroup)
{
    VmmConn *conn = g_new0(VmmConn, 1);

    conn->server = server;
    conn->fd = fd;
    conn->uffd = -1;
    conn->peer = *peer;
    *peer = PEER_NULL;
    conn->account = ledger_open_account(server->ledger, &conn->peer, cgroup);
    conn->bucket = LOG_BUCKET(20, 60);
    conn->bucket.parent = account_log_bucket(conn->account);
    conn->discard = g_array_new(FALSE, FALSE, sizeof(int));
    frame_reader_init(&conn->reader);
    conn->readable = g_unix_fd_add(fd, G_IO_IN, on_readable, conn);
    conn->deadline = g_timeout_add(HELLO_DEADLINE_MS, on_hello_deadline, conn);
    g_ptr_array_add(server->conns, conn);
    return conn;
}

static void conn_free(VmmConn *conn)
{
    g_ptr_array_remove_fast(conn->server->conns, conn);
    guest_free(conn->guest);
    account_close(conn->account);
    peer_deinit(&conn->peer);
    frame_reader_deinit(&conn->reader);
    g_array_unref(conn->discard);
    g_free(conn->answer);
    g_free(conn);
}

static void on_all_closed(gpointer user_data)
{
    conn_free(user_data);
}

/* Lets the closer close what is to be discarded; the connection is busy until then. */
static void close_discarded(VmmConn *conn, CloserDone done)
{
    GArray *fds = conn->discard;

    conn->discard = g_array_new(FALSE, FALSE, sizeof(int));
    conn->busy = TRUE;
    closer_close(conn->server->closer, fds, done, conn);
}

/* Closes and frees a doomed connection that no worker has. */
static void dispose(VmmConn *conn)
{
    frame_reader_move_fds(&conn->reader, conn->discard);
    if (conn->uffd >= 0)
        g_array_append_val(conn->discard, conn->uffd);
    if (!closer_close_if_harmless(conn->fd))
        g_array_append_val(conn->discard, conn->fd);
    conn->fd = conn->uffd = -1;
    if (conn->discard->len > 0)
        close_discarded(conn, on_all_closed);
    else
        conn_free(conn);
}

static void doom(VmmConn *conn, int how)
{
    if (conn->doomed)
        return;
    conn->doomed = TRUE;
    clear_source(&conn->readable);
    clear_source(&conn->deadline);
    shutdown(conn->fd, how);
    if (conn->guest)
        inventory_remove(conn->server->inventory, conn->guest);
    if (!conn->busy)
        dispose(conn);
}

/**
 * vmm_conn_close() - end a connection
 * @conn: the connection; gone after this, or doomed
 */
void vmm_conn_close(VmmConn *conn)
{
    doom(conn, SHUT_RDWR);
}

/**
 * vmm_conn_finish() - end a connection, after the answer to the request that a worker has
 * @conn: the connection; gone after this, or doomed
 */
void vmm_conn_finish(VmmConn *conn)
{
    doom(conn, conn->busy ? SHUT_RD : SHUT_RDWR); /* dispose() does the rest */
}

/**
 * vmm_conn_send() - send an answer
 * @conn: the connection; gone after this if the result is FALSE
 * @body: the answer
 *
 * Return: FALSE if the peer did not take it all at once.
 */
gboolean vmm_conn_send(VmmConn *conn, const char *body)
{
    gsize size = strlen(body);
    ssize_t n = frame_send(conn->fd, body, size, 0);

    if (n == (ssize_t)(FRAME_HEADER_SIZE + size))
        return TRUE;
    if (n >= 0 || n == -EAGAIN)
        vmm_conn_log(conn, G_LOG_LEVEL_WARNING, "disconnected: it does not read its answers");
    vmm_conn_close(conn);
    return FALSE;
}

/* Counts and logs an error of a request; the caller sends it. */
static void note_refusal(VmmConn *conn, const GError *error)
{
    conn->server->inventory->refused++;
    if (conn->guest)
        guest_count_refusal(conn->guest, error);
    vmm_conn_log(conn, G_LOG_LEVEL_WARNING, "refused (%s): %s", proto_error_code(proto_error_of(error)),
                 error->message);
}

/* Answers with an error; FALSE if the connection is gone then. */
static gboolean refuse(VmmConn *conn, gint64 id, const GError *error)
{
    g_autofree char *body = vmm_answer_error(id, error);

    note_refusal(conn, error);
    if (!vmm_conn_send(conn, body))
        return FALSE;
    if (!proto_error_is_fatal(proto_error_of(error)))
        return TRUE;
    vmm_conn_close(conn);
    return FALSE;
}

static gboolean refuse_frame(VmmConn *conn, ProtoError code, const char *message)
{
    g_autoptr(GError) error = g_error_new_literal(PROTO_ERROR, (gint)code, message);

    return refuse(conn, 0, error);
}

static void resume(VmmConn *conn)
{
    conn->readable = g_unix_fd_add(conn->fd, G_IO_IN, on_readable, conn);
}

static void on_discarded(gpointer user_data)
{
    VmmConn *conn = user_data;
    g_autofree char *answer = g_steal_pointer(&conn->answer);

    conn->busy = FALSE;
    if (conn->doomed) {
        frame_send(conn->fd, answer, strlen(answer), 0); /* for vmm_conn_finish() */
        dispose(conn);
    } else if (vmm_conn_send(conn, answer)) {
        resume(conn);
    }
}

/* The callback of the event source that is running ends the source. */
static void answer_when_closed(VmmConn *conn, char *answer)
{
    conn->answer = answer;
    conn->readable = 0;
    close_discarded(conn, on_discarded);
}

/* A whole message is in the reader. FALSE if the connection is gone, or busy. */
static gboolean serve_message(VmmConn *conn)
{
    g_auto(VmmRequest) request = { NULL };
    g_autoptr(GError) error = NULL;
    g_autofree char *answer = NULL;

    guint max_words = conn->guest ? JSON_STRICT_MAX_WORDS : VMM_HELLO_WORDS;

    conn->server->inventory->requests++;
    if (conn->guest)
        conn->guest->requests++;
    if (vmm_request_parse(&request, conn->reader.body, conn->reader.size, max_words, &error))
        answer = vmm_request_handle(conn, &request, &error);
    if (conn->guest)
        clear_source(&conn->deadline);
    frame_reader_move_fds(&conn->reader, conn->discard);
    frame_reader_reset(&conn->reader);
    if (error && (conn->discard->len == 0 || proto_error_is_fatal(proto_error_of(error))))
        return refuse(conn, request.id, error);
    if (error) {
        note_refusal(conn, error);
        answer = vmm_answer_error(request.id, error);
    }
    if (conn->discard->len > 0) {
        answer_when_closed(conn, g_steal_pointer(&answer));
        return FALSE;
    }
    return answer && vmm_conn_send(conn, answer);
}

/* Serves one message at most, so that the other connections have their turn. */
static gboolean on_readable(gint fd, GIOCondition condition, gpointer user_data)
{
    VmmConn *conn = user_data;
    gboolean go_on = FALSE;

    switch (frame_reader_read(&conn->reader, fd)) {
    case FRAME_E_MORE:
        return G_SOURCE_CONTINUE;
    case FRAME_E_MESSAGE:
        go_on = serve_message(conn);
        break;
    case FRAME_E_BAD_LENGTH:
        refuse_frame(conn, PROTO_ERROR_BAD_FRAME, "length 0 or over 1 MiB");
        break;
    case FRAME_E_TOO_MANY_FDS:
        refuse_frame(conn, PROTO_ERROR_TOO_MANY_FDS,
                     "more than one descriptor in a message, or no room for it here");
        break;
    default: /* the end, orderly or not */
        vmm_conn_log(conn, G_LOG_LEVEL_DEBUG, "disconnected");
        vmm_conn_close(conn);
    }
    return go_on ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static void count_result(VmmConn *conn, const PoisonJob *job)
{
    conn->server->inventory->pages_poisoned += job->result.pages_done;
    conn->guest->pages_poisoned += job->result.pages_done;
    conn->guest->held_pages += job->result.bytes_done / layout_base_page();
    conn->guest->pages_failed += job->result.pages_failed;
    conn->session_pages += job->result.pages_done;
    conn->session_failed += job->result.pages_failed;
}

/**
 * vmm_conn_job_done() - a worker has carried out and answered a request
 * @job: the job; freed by this
 * @user_data: its connection, which may be doomed
 */
void vmm_conn_job_done(PoisonJob *job, gpointer user_data)
{
    VmmConn *conn = user_data;
    gboolean answered = job->answered;

    conn->busy = FALSE;
    if (job->error)
        note_refusal(conn, job->error);
    else
        count_result(conn, job);
    poison_job_free(job);
    if (conn->doomed)
        dispose(conn);
    else if (!answered)
        vmm_conn_close(conn);
    else
        resume(conn);
}
