/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "guest.h"
#include "util/closer.h"
#include "util/frame.h"
#include "util/log.h"
#include "vmm-protocol.h"
#include "vmm-server.h"

/*
 * A VMM's connection. Its life:
 *
 *   guest == NULL   before hello. A deadline runs. Only hello is understood.
 *   guest != NULL   after hello. The guest is in the inventory. No timer.
 *   busy            a worker has a poison request of it, or closes descriptors that it sent. Not read from,
 *                   so that requests stay in order; socket and uffd must stay open.
 *   doomed          not read from any more, out of the inventory. When no worker has a request of it any more, one closes
 *                   its descriptors, and then it is freed. Until then it counts as a connection: a process
 *                   can make as many workers hang as it may have connections.
 */
typedef struct {
    VmmServer *server;
    int fd;
    FrameReader reader;
    Peer peer;        /* this and the account move to the guest with hello */
    Account *account; /* or NULL */
    Guest *guest;
    int uffd; /* between poison-begin and poison-end, else -1 */
    gboolean busy;
    gboolean doomed;
    GArray *discard; /* int: descriptors for a worker to close */
    char *answer;    /* to be sent when they are, or NULL */
    guint readable; /* source id, or 0 */
    guint deadline; /* source id, or 0 */
    guint64 session_pages;
    guint64 session_failed;
    LogBucket bucket; /* its parent is that of the account */
} VmmConn;

struct VmmServer {
    Listener *listener;
    Inventory *inventory;
    PoisonPool *pool;
    Closer *closer;
    Ledger *ledger;
    guint turned_away; /* connections that the closer has, and no VmmConn */
    Policy policy;
    guint max_connections;
    guint max_per_cgroup;
    guint max_per_process;
    gboolean can_poison;
    GPtrArray *conns; /* VmmConn, doomed ones included */
    guint acceptable; /* source id, or 0 */
    guint resume;     /* source id of the timer after running out of descriptors, or 0 */
    LogBucket bucket; /* for peers without a connection */
};

/* vmm-conn.c */
VmmConn *vmm_conn_new(VmmServer *server, int fd, Peer *peer, const char *cgroup);
void vmm_conn_accept_fds(int fd, gboolean accept);
void vmm_conn_close(VmmConn *conn);
void vmm_conn_finish(VmmConn *conn);
gboolean vmm_conn_send(VmmConn *conn, const char *body);
void vmm_conn_job_done(PoisonJob *job, gpointer user_data);
void vmm_conn_log(VmmConn *conn, GLogLevelFlags level, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* vmm-requests.c */
char *vmm_request_handle(VmmConn *conn, const VmmRequest *request, GError **error);
