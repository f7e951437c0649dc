/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket
 *
 * For hwpoisonctl and other tools of the operator; see docs/control-protocol.md. Same frames as the
 * VMM socket, no descriptors, read-only questions. An answer can be larger than a socket's buffer,
 * so a connection is either reading a request or writing the answer to it, never both: what it can
 * make us hold is one of each.
 *
 * Who may connect is decided by the socket's mode and group. Still a client can be broken, so a
 * message that breaks the framing, or has descriptors, ends its connection, and there is a limit of
 * connections. A client can send descriptors all the same, so each connection whose end may block is ended by
 * a thread (closer.c), and counts until then; with too many nobody is accepted for a while.
 */
#include "control-server.h"

#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <unistd.h>

#include "util/frame.h"
#include "util/log.h"

#define REST_MS         1000u

typedef struct {
    ControlServer *server;
    int fd;
    FrameReader reader;
    char *answer;  /* being sent, or NULL */
    gsize sent;    /* of it, header included */
    gboolean last; /* close when the answer is out */
    guint source;
} ControlConn;

struct ControlServer {
    Listener *listener;
    Closer *closer;
    ControlView view;
    GPtrArray *conns;
    guint closing;    /* connections that the closer has */
    guint acceptable; /* source id, or 0 */
    guint resume;     /* source id, or 0 */
};

static gboolean on_acceptable(gint fd, GIOCondition condition, gpointer user_data);
static gboolean on_ready(gint fd, GIOCondition condition, gpointer user_data);

static void on_closed(gpointer user_data)
{
    ControlServer *server = user_data;

    server->closing--;
}

/* Closes the connection and what was sent on it. */
static void hang_up(ControlConn *conn)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));

    frame_reader_move_fds(&conn->reader, fds);
    if (!closer_close_if_harmless(conn->fd))
        g_array_append_val(fds, conn->fd);
    if (fds->len == 0)
        return;
    conn->server->closing++;
    closer_close(conn->server->closer, g_steal_pointer(&fds), on_closed, conn->server);
}

static void conn_free(gpointer data)
{
    ControlConn *conn = data;

    if (conn->source)
        g_source_remove(conn->source);
    hang_up(conn);
    frame_reader_deinit(&conn->reader);
    g_free(conn->answer);
    g_free(conn);
}

static void conn_new(ControlServer *server, int fd)
{
    ControlConn *conn = g_new0(ControlConn, 1);

    conn->server = server;
    conn->fd = fd;
    frame_reader_init(&conn->reader);
    conn->source = g_unix_fd_add(fd, G_IO_IN, on_ready, conn);
    g_ptr_array_add(server->conns, conn);
}

/* Sends as much of the answer as fits. FALSE if the connection is to end. */
static gboolean conn_write(ControlConn *conn)
{
    gsize size = strlen(conn->answer);
    ssize_t n = frame_send(conn->fd, conn->answer, size, conn->sent);

    if (n < 0)
        return n == -EAGAIN;
    conn->sent += (gsize)n;
    if (conn->sent < FRAME_HEADER_SIZE + size)
        return TRUE;
    g_clear_pointer(&conn->answer, g_free);
    conn->sent = 0;
    return !conn->last;
}

static gboolean conn_read(ControlConn *conn)
{
    int r = frame_reader_read(&conn->reader, conn->fd);

    if (r != FRAME_E_MESSAGE)
        return r == FRAME_E_MORE;
    if (conn->reader.n_fds > 0)
        return FALSE;
    conn->answer = control_answer(&conn->server->view, conn->reader.body, conn->reader.size, &conn->last);
    frame_reader_reset(&conn->reader);
    return conn_write(conn);
}

/* Waits for what the connection does next: reading, unless an answer is on its way. */
static gboolean on_ready(gint fd, GIOCondition condition, gpointer user_data)
{
    ControlConn *conn = user_data;
    gboolean was_writing = conn->answer != NULL;
    gboolean go_on = was_writing ? conn_write(conn) : conn_read(conn);

    if (!go_on) {
        conn->source = 0;
        g_ptr_array_remove_fast(conn->server->conns, conn);
        return G_SOURCE_REMOVE;
    }
    if (was_writing == (conn->answer != NULL))
        return G_SOURCE_CONTINUE;
    conn->source = g_unix_fd_add(fd, conn->answer ? G_IO_OUT : G_IO_IN, on_ready, conn);
    return G_SOURCE_REMOVE;
}

static gboolean on_rested(gpointer user_data)
{
    ControlServer *server = user_data;

    server->resume = 0;
    server->acceptable = g_unix_fd_add(server->listener->fd, G_IO_IN, on_acceptable, server);
    return G_SOURCE_REMOVE;
}

static gboolean on_acceptable(gint fd, GIOCondition condition, gpointer user_data)
{
    ControlServer *server = user_data;
    gboolean room = control_server_connections(server) < CONTROL_MAX_CONNECTIONS;
    int conn = room ? listener_accept(server->listener) : -EBUSY;

    if (conn >= 0) {
        conn_new(server, conn);
        return G_SOURCE_CONTINUE;
    }
    if (conn == -EAGAIN || conn == -ECONNABORTED || conn == -EINTR)
        return G_SOURCE_CONTINUE;
    server->acceptable = 0;
    server->resume = g_timeout_add(REST_MS, on_rested, server);
    return G_SOURCE_REMOVE;
}

/**
 * control_server_new() - begin to answer questions
 * @listener: the socket; must outlive the server
 * @closer: for up to CONTROL_MAX_CONNECTIONS threads; must outlive the server
 * @view: what to answer from; copied, what it points to must outlive the server
 */
ControlServer *control_server_new(Listener *listener, Closer *closer, const ControlView *view)
{
    ControlServer *server = g_new0(ControlServer, 1);

    server->listener = listener;
    server->closer = closer;
    server->view = *view;
    server->conns = g_ptr_array_new_with_free_func(conn_free);
    server->acceptable = g_unix_fd_add(listener->fd, G_IO_IN, on_acceptable, server);
    return server;
}

/**
 * control_server_set_policy() - the policy to tell from now on
 * @server: the server
 * @policy: copied
 */
void control_server_set_policy(ControlServer *server, const Policy *policy)
{
    server->view.policy = *policy;
}

/**
 * control_server_connections() - how many connections there are, those included that are being closed
 * @server: the server
 */
guint control_server_connections(const ControlServer *server)
{
    return server->conns->len + server->closing;
}

/**
 * control_server_stop() - accept nobody, and close all connections
 * @server: the server
 *
 * The end of some may take a while; see control_server_connections().
 */
void control_server_stop(ControlServer *server)
{
    if (server->acceptable)
        g_source_remove(server->acceptable);
    if (server->resume)
        g_source_remove(server->resume);
    server->acceptable = server->resume = 0;
    g_ptr_array_set_size(server->conns, 0);
}

/**
 * control_server_free() - free a stopped server without connections
 * @server: the server, or NULL
 */
void control_server_free(ControlServer *server)
{
    if (!server)
        return;
    g_ptr_array_unref(server->conns);
    g_free(server);
}
