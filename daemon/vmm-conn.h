/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "guest.h"
#include "util/frame.h"
#include "util/log.h"
#include "vmm-protocol.h"
#include "vmm-server.h"

/*
 * A VMM's connection. Its life:
 *
 *   guest == NULL   before hello. A deadline runs. Only hello is understood.
 *   guest != NULL   after hello. The guest is in the inventory. No timer.
 *   busy            a worker has a poison request of it. Not read from, so that requests stay in
 *                   order; socket and uffd must stay open.
 *   busy + doomed   to be closed, but a worker still has it: shut down, out of the inventory, freed
 *                   by vmm_conn_job_done().
 */
typedef struct {
    VmmServer *server;
    int fd;
    FrameReader reader;
    Peer peer; /* moves to the guest with hello */
    Guest *guest;
    int uffd; /* between poison-begin and poison-end, else -1 */
    gboolean busy;
    gboolean doomed;
    guint readable; /* source id, or 0 */
    guint deadline; /* source id, or 0 */
    guint64 session_pages;
    guint64 session_failed;
    LogBucket bucket;
} VmmConn;

struct VmmServer {
    Listener *listener;
    Inventory *inventory;
    PoisonPool *pool;
    Policy policy;
    guint max_connections;
    guint max_per_process;
    gboolean can_poison;
    GPtrArray *conns; /* VmmConn, doomed ones included */
    guint acceptable; /* source id, or 0 */
    guint resume;     /* source id of the timer after running out of descriptors, or 0 */
    LogBucket bucket; /* for peers without a connection */
};

/* vmm-conn.c */
VmmConn *vmm_conn_new(VmmServer *server, int fd, Peer *peer);
void vmm_conn_free(VmmConn *conn);
void vmm_conn_close(VmmConn *conn);
gboolean vmm_conn_send(VmmConn *conn, const char *body);
void vmm_conn_job_done(PoisonJob *job, gpointer user_data);
void vmm_conn_log(VmmConn *conn, GLogLevelFlags level, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* vmm-requests.c */
char *vmm_request_handle(VmmConn *conn, const VmmRequest *request, GError **error);
