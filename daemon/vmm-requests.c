/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What each request of a VMM does
 *
 * A handler returns the answer, or NULL with an error, or NULL without one: then a worker has the
 * request and answers it. Before the handler runs, what the table says about the request is
 * checked: whether it may come before hello, and whether a descriptor comes with it. A descriptor
 * that no handler takes, or that it puts into conn->discard, is closed by a worker before the answer is sent.
 *
 * A handler checks everything before it changes anything.
 */
#include "util/fd-check.h"
#include "util/proto-error.h"
#include "vmm-conn.h"

typedef char *(*Handler)(VmmConn *conn, const VmmRequest *request, GError **error);

static char *fail(GError **error, ProtoError code, const char *message)
{
    g_set_error_literal(error, PROTO_ERROR, (gint)code, message);
    return NULL;
}

static VmmConn *conn_of_guest(VmmServer *server, const Guest *guest)
{
    for (guint i = 0; i < server->conns->len; i++) {
        VmmConn *conn = g_ptr_array_index(server->conns, i);

        if (conn->guest == guest)
            return conn;
    }
    return NULL;
}

static void close_replaced(VmmConn *conn, const Guest *guest)
{
    Guest *old;

    while ((old = inventory_replaced(conn->server->inventory, guest))) {
        VmmConn *old_conn = conn_of_guest(conn->server, old);

        vmm_conn_log(old_conn, G_LOG_LEVEL_INFO, "connection replaced by a new one");
        vmm_conn_close(old_conn);
    }
}

static char *handle_hello(VmmConn *conn, const VmmRequest *request, GError **error)
{
    g_autoptr(Guest) guest = NULL;
    VmmHello hello;

    if (conn->guest)
        return fail(error, PROTO_ERROR_BAD_STATE, "hello: said already");
    if (!vmm_parse_hello(request, &hello, error))
        return NULL;
    guest = guest_new(hello.name, hello.uuid, hello.vmm, hello.vmm_version);
    guest->peer = conn->peer;
    conn->peer.pidfd = -1; /* moved */
    if (!inventory_may_add(conn->server->inventory, guest, error)) {
        conn->peer = guest->peer;
        guest->peer.pidfd = -1; /* moved back */
        return NULL;
    }
    close_replaced(conn, guest);
    conn->guest = g_steal_pointer(&guest);
    conn->guest->account = g_steal_pointer(&conn->account);
    inventory_add(conn->server->inventory, conn->guest);
    vmm_conn_accept_fds(conn->fd, TRUE);
    vmm_conn_log(conn, G_LOG_LEVEL_INFO, "connected: %s %s, uuid '%s'", hello.vmm, hello.vmm_version,
                 hello.uuid);
    return vmm_answer_hello(request->id, conn->server->can_poison, conn->server->policy.max_pages_per_guest);
}

static void update_state(VmmConn *conn)
{
    if (!conn->guest->layout)
        conn->guest->state = GUEST_GREETED;
    else
        conn->guest->state = conn->uffd >= 0 ? GUEST_POISONING : GUEST_READY;
}

static char *handle_layout(VmmConn *conn, const VmmRequest *request, GError **error)
{
    Layout *layout = vmm_parse_layout(request, error);

    if (!layout)
        return NULL;
    guest_set_layout(conn->guest, layout);
    update_state(conn);
    vmm_conn_log(conn, G_LOG_LEVEL_DEBUG, "layout with %u blocks", layout_count(layout));
    return vmm_answer_ok(request->id);
}

static char *handle_begin(VmmConn *conn, const VmmRequest *request, GError **error)
{
    guint64 pages;

    if (conn->uffd >= 0)
        return fail(error, PROTO_ERROR_BAD_STATE, "poison-begin: begun already");
    if (!vmm_parse_begin(request, &pages, error) ||
        !policy_check_pages(&conn->server->policy, guest_held_pages(conn->guest), pages, error))
        return NULL;
    if (!fd_is_userfaultfd(conn->reader.fd))
        return fail(error, PROTO_ERROR_NOT_USERFAULTFD, "poison-begin: the descriptor is no userfaultfd");
    if (!conn->server->can_poison)
        return fail(error, PROTO_ERROR_INTERNAL,
                    "poison-begin: the kernel of this host has no UFFDIO_POISON");
    conn->uffd = frame_reader_take_fd(&conn->reader);
    conn->session_pages = conn->session_failed = 0;
    update_state(conn);
    return vmm_answer_ok(request->id);
}

static const RamBlock *find_block(VmmConn *conn, const char *name, GError **error)
{
    int index = layout_find(conn->guest->layout, name);

    if (index >= 0)
        return layout_block(conn->guest->layout, (guint)index);
    g_set_error(error, PROTO_ERROR, PROTO_ERROR_UNKNOWN_BLOCK, "poison: no block '%s' in the layout", name);
    return NULL;
}

static void submit(VmmConn *conn, const VmmRequest *request, const RamBlock *block, guint count)
{
    PoisonJob *job = poison_job_new(block);

    job->sock = conn->fd;
    job->uffd = conn->uffd;
    job->memfd = frame_reader_take_fd(&conn->reader);
    job->id = request->id;
    job->count = count;
    job->held = conn->guest->held_pages;
    job->account = conn->guest->account;
    job->policy = conn->server->policy;
    job->done = vmm_conn_job_done;
    job->user_data = conn;
    conn->busy = TRUE;
    conn->readable = 0; /* its callback is running, and will end it */
    poison_pool_submit(conn->server->pool, job);
}

static char *handle_poison(VmmConn *conn, const VmmRequest *request, GError **error)
{
    const RamBlock *block;
    VmmPoison poison;

    if (conn->uffd < 0 || !conn->guest->layout)
        return fail(error, PROTO_ERROR_BAD_STATE, "poison: before layout or poison-begin");
    if (!vmm_parse_poison(request, &poison, error))
        return NULL;
    block = find_block(conn, poison.block, error);
    if (!block || !policy_check_kind(&conn->server->policy, block, error))
        return NULL;
    submit(conn, request, block, poison.count);
    return NULL;
}

static char *handle_end(VmmConn *conn, const VmmRequest *request, GError **error)
{
    g_autofree char *unreached = NULL;

    if (conn->uffd < 0)
        return fail(error, PROTO_ERROR_BAD_STATE, "poison-end: without poison-begin");
    if (!vmm_parse_end(request, &unreached, error))
        return NULL;
    g_array_append_val(conn->discard, conn->uffd);
    conn->uffd = -1;
    update_state(conn);
    vmm_conn_log(conn, G_LOG_LEVEL_INFO, "poisoned %" G_GUINT64_FORMAT " pages, %" G_GUINT64_FORMAT " failed",
                 conn->session_pages, conn->session_failed);
    if (*unreached)
        vmm_conn_log(conn, G_LOG_LEVEL_WARNING,
                     "its poison is not seen by these vhost-user backends, which may read zeros: %s",
                     unreached);
    return vmm_answer_ok(request->id);
}

static char *handle_set(VmmConn *conn, const VmmRequest *request, GError **error)
{
    g_autoptr(GArray) ranges = NULL;
    gboolean replace;

    if (!conn->guest->layout)
        return fail(error, PROTO_ERROR_BAD_STATE, "poison-set: before layout");
    ranges = vmm_parse_set(request, conn->guest->layout, &replace, error);
    if (!ranges)
        return NULL;
    if (!inventory_has_room(conn->server->inventory, conn->guest, replace, ranges->len) ||
        guest_tell_set(conn->guest, replace, ranges) < 0)
        return fail(error, PROTO_ERROR_POLICY_PAGES, "poison-set: more ranges than the agent keeps");
    return vmm_answer_ok(request->id);
}

static const struct {
    Handler handle;
    gboolean before_hello;
    gboolean takes_fd;
} requests[] = {
    [VMM_HELLO] = { handle_hello, TRUE, FALSE },        [VMM_LAYOUT] = { handle_layout, FALSE, FALSE },
    [VMM_POISON_BEGIN] = { handle_begin, FALSE, TRUE }, [VMM_POISON] = { handle_poison, FALSE, TRUE },
    [VMM_POISON_END] = { handle_end, FALSE, FALSE },    [VMM_POISON_SET] = { handle_set, FALSE, FALSE },
};
G_STATIC_ASSERT(G_N_ELEMENTS(requests) == VMM_TYPE_COUNT_);

/**
 * vmm_request_handle() - carry out a request
 * @conn: its connection, with the message's descriptor in the reader
 * @request: the request
 * @error: a PROTO_ERROR for the answer
 *
 * Return: the answer; NULL with @error set; or NULL without: then the connection is busy.
 */
char *vmm_request_handle(VmmConn *conn, const VmmRequest *request, GError **error)
{
    gboolean has_fd = conn->reader.fd >= 0;

    if (!conn->guest && !requests[request->type].before_hello)
        return fail(error, PROTO_ERROR_BAD_STATE, "the first request must be hello");
    if (conn->reader.late_fd)
        return fail(error, PROTO_ERROR_UNEXPECTED_FD, "a descriptor not on the first byte");
    if (has_fd && !requests[request->type].takes_fd)
        return fail(error, PROTO_ERROR_UNEXPECTED_FD, "a descriptor where none belongs");
    if (!has_fd && requests[request->type].takes_fd)
        return fail(error, PROTO_ERROR_MISSING_FD, "the request needs a descriptor");
    return requests[request->type].handle(conn, request, error);
}
