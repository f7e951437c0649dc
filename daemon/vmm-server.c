/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The socket of the VMMs
 *
 * Accepts connections and bounds them: in total, per cgroup, and per process, doomed ones that a worker still
 * holds included. One too many is told so and closed. A process whose id cannot be seen from here
 * cannot be a guest.
 *
 * Nobody may send a descriptor before hello, where the kernel can see to that. Where it cannot, one that is
 * turned away may have left some in its socket, whose end then takes a thread (closer.c) and a moment.
 * With too many of those nobody is accepted until one is through.
 *
 * A connection can need four descriptors (socket, pidfd, userfaultfd, memfd), so there are never more
 * connections than the process may have descriptors for. Should the whole system run out of them, accept()
 * fails while the listener stays readable; it then rests for a second instead of spinning. That is the only
 * timer besides the deadline of hello.
 */
#include "vmm-server.h"

#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "util/frame.h"
#include "util/proto-error.h"
#include "util/uffd.h"
#include "vmm-conn.h"

#define MAX_TURNED_AWAY     64u
#define REST_MS             1000u
#define FDS_OF_AGENT        48u /* its own, and those of the control socket */
#define FDS_OF_A_CONNECTION 4u

static guint connections_of(const VmmServer *server, const Peer *peer)
{
    guint n = 0;

    for (guint i = 0; i < server->conns->len; i++) {
        const VmmConn *conn = g_ptr_array_index(server->conns, i);
        const Peer *other = conn->guest ? &conn->guest->peer : &conn->peer;

        n += peer_same_process(other, peer);
    }
    return n;
}

static gboolean on_acceptable(gint fd, GIOCondition condition, gpointer user_data);

static gboolean on_rested(gpointer user_data)
{
    VmmServer *server = user_data;

    server->resume = 0;
    server->acceptable = g_unix_fd_add(server->listener->fd, G_IO_IN, on_acceptable, server);
    return G_SOURCE_REMOVE;
}

/* The next one can be accepted, if that is what we wait for. */
static void on_turned_away(gpointer user_data)
{
    VmmServer *server = user_data;

    server->turned_away--;
    if (server->resume == 0)
        return;
    g_source_remove(server->resume);
    on_rested(server);
}

static void hang_up(VmmServer *server, int fd)
{
    GArray *fds;

    if (closer_close_if_harmless(fd))
        return;
    fds = g_array_new(FALSE, FALSE, sizeof(int));
    g_array_append_val(fds, fd);
    server->turned_away++;
    closer_close(server->closer, fds, on_turned_away, server);
}

static void turn_away(VmmServer *server, int fd, const Peer *peer, const char *reason)
{
    g_autoptr(GError) error = g_error_new_literal(PROTO_ERROR, PROTO_ERROR_INTERNAL, reason);
    g_autofree char *body = vmm_answer_error(0, error);

    frame_send(fd, body, strlen(body), 0);
    hang_up(server, fd);
    log_guest(&server->bucket, G_LOG_LEVEL_WARNING, "(new)", peer->pid, "turned away: %s", reason);
}

/* Drops connections whose process has exited: somebody else holds their socket, and they count for nobody. */
static void drop_dead(VmmServer *server)
{
    for (guint i = server->conns->len; i > 0; i--) {
        VmmConn *conn = g_ptr_array_index(server->conns, i - 1);

        if (!conn->busy && !peer_alive(conn->guest ? &conn->guest->peer : &conn->peer)) {
            vmm_conn_log(conn, G_LOG_LEVEL_WARNING, "disconnected: its process has exited");
            vmm_conn_close(conn);
        }
    }
}

/* Why there is no room for one more, or NULL. */
static const char *lack_of_room(const VmmServer *server, const Peer *peer, const char *cgroup)
{
    if (server->conns->len >= server->max_connections)
        return "too many connections";
    if (ledger_users(server->ledger, cgroup) >= server->max_per_cgroup)
        return "too many connections of this cgroup (max-connections-per-cgroup)";
    if (connections_of(server, peer) >= server->max_per_process)
        return "too many connections of this process";
    return NULL;
}

static const char *make_room(VmmServer *server, const Peer *peer, const char *cgroup)
{
    if (lack_of_room(server, peer, cgroup))
        drop_dead(server);
    return lack_of_room(server, peer, cgroup);
}

static void take_connection(VmmServer *server, int fd)
{
    Peer peer = PEER_NULL;
    int r = peer_init(&peer, fd);
    g_autofree char *cgroup = r == 0 ? peer_cgroup(&peer) : NULL;
    const char *reason;

    if (r == -ESRCH || (r == 0 && !cgroup))
        reason = "no such process here";
    else
        reason = r < 0 ? g_strerror(-r) : make_room(server, &peer, cgroup);
    if (reason)
        turn_away(server, fd, &peer, reason);
    else
        vmm_conn_new(server, fd, &peer, cgroup);
    peer_deinit(&peer);
}

static gboolean on_acceptable(gint fd, GIOCondition condition, gpointer user_data)
{
    VmmServer *server = user_data;
    int conn = server->turned_away < MAX_TURNED_AWAY ? listener_accept(server->listener) : -EBUSY;

    if (conn >= 0) {
        take_connection(server, conn);
        return G_SOURCE_CONTINUE;
    }
    if (conn == -EAGAIN || conn == -ECONNABORTED || conn == -EINTR)
        return G_SOURCE_CONTINUE;
    log_guest(&server->bucket, G_LOG_LEVEL_WARNING, "(new)", 0, "cannot accept: %s", g_strerror(-conn));
    server->acceptable = 0;
    server->resume = g_timeout_add(REST_MS, on_rested, server);
    return G_SOURCE_REMOVE;
}

/* As many connections as are wanted, if there are descriptors for them; at least one. */
static guint affordable(guint wanted)
{
    struct rlimit limit = { 0 };
    rlim_t most;

    getrlimit(RLIMIT_NOFILE, &limit);
    most = (MAX(limit.rlim_cur, FDS_OF_AGENT) - FDS_OF_AGENT) / FDS_OF_A_CONNECTION;
    if (wanted <= most)
        return wanted;
    log_agent(G_LOG_LEVEL_WARNING, "descriptors for %u connections only", (guint)MAX(most, 1));
    return (guint)MAX(most, 1);
}

/**
 * vmm_server_new() - begin to serve VMMs
 * @listener: their socket; must outlive the server
 * @config: limits and policy; copied
 * @inventory: where to enter guests; must outlive the server
 * @pool: workers; must outlive the server
 * @closer: for descriptors of VMMs; must outlive the server
 */
VmmServer *vmm_server_new(Listener *listener, const Config *config, Inventory *inventory, PoisonPool *pool,
                          Closer *closer)
{
    VmmServer *server = g_new0(VmmServer, 1);

    server->listener = listener;
    server->inventory = inventory;
    server->pool = pool;
    server->closer = closer;
    server->ledger = ledger_new();
    server->can_poison = uffd_kernel_can_poison();
    server->conns = g_ptr_array_new();
    server->bucket = LOG_BUCKET(20, 60);
    vmm_server_set_config(server, config);
    vmm_conn_accept_fds(listener->fd, FALSE);
    server->acceptable = g_unix_fd_add(listener->fd, G_IO_IN, on_acceptable, server);
    return server;
}

/**
 * vmm_server_set_config() - other limits and policy for what comes from now on
 * @server: the server
 * @config: copied
 */
void vmm_server_set_config(VmmServer *server, const Config *config)
{
    server->policy = config->policy;
    server->max_connections = affordable(config->max_connections);
    server->max_per_cgroup = config->max_connections_per_cgroup;
    server->max_per_process = config->max_connections_per_process;
    closer_allow(server->closer, config->max_connections + MAX_TURNED_AWAY);
}

/**
 * vmm_server_stop() - accept nobody, and close every connection that no worker has
 * @server: the server
 *
 * The others follow as their workers finish, with their answers; see vmm_server_connections().
 */
void vmm_server_stop(VmmServer *server)
{
    if (server->acceptable)
        g_source_remove(server->acceptable);
    if (server->resume)
        g_source_remove(server->resume);
    server->acceptable = server->resume = 0;
    for (guint i = server->conns->len; i > 0; i--)
        vmm_conn_finish(g_ptr_array_index(server->conns, i - 1));
}

/**
 * vmm_server_free() - free a stopped server without connections
 * @server: the server, or NULL
 */
void vmm_server_free(VmmServer *server)
{
    if (!server)
        return;
    g_ptr_array_unref(server->conns);
    ledger_free(server->ledger);
    g_free(server);
}

/**
 * vmm_server_connections() - how many connections there are
 * @server: the server
 */
guint vmm_server_connections(const VmmServer *server)
{
    return server->conns->len + server->turned_away;
}

/**
 * vmm_server_can_poison() - does the kernel have UFFDIO_POISON?
 * @server: the server
 */
gboolean vmm_server_can_poison(const VmmServer *server)
{
    return server->can_poison;
}
