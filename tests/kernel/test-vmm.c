/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VMM for tests: its end of the protocol
 *
 * Written against docs/vmm-protocol.md and not with the agent's own code, so that both being wrong in the
 * same way would take two mistakes. It can send what no honest VMM would: any bytes, any descriptors, in
 * any pieces. Every wait has a deadline, after which the test fails; there are no sleeps.
 */
#include "test-vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

Vmm *vmm_connect(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    Vmm *vmm = g_new0(Vmm, 1);

    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    vmm->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_no_errno(vmm->fd);
    g_assert_no_errno(connect(vmm->fd, (const struct sockaddr *)&address, sizeof(address)));
    return vmm;
}

void vmm_close(Vmm *vmm)
{
    close(vmm->fd);
    g_free(vmm);
}

static ssize_t send_with_fds(int sock, const void *bytes, gsize size, const int *fds, guint n_fds)
{
    char control[CMSG_SPACE(8 * sizeof(int))] = { 0 };
    struct iovec iov = { .iov_base = (void *)bytes, .iov_len = size };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    g_assert_cmpuint(n_fds, <=, 8);
    if (n_fds > 0) {
        struct cmsghdr *c;

        msg.msg_control = control;
        msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    return sendmsg(sock, &msg, MSG_NOSIGNAL);
}

/* Sends raw bytes, the descriptors with the first of them. */
void vmm_send_bytes(Vmm *vmm, const void *bytes, gsize size, const int *fds, guint n_fds)
{
    const char *p = bytes;

    while (size > 0) {
        ssize_t n = send_with_fds(vmm->fd, p, size, fds, n_fds);

        g_assert_no_errno(n);
        n_fds = 0;
        p += n;
        size -= (gsize)n;
    }
}

static GByteArray *frame_of(const char *json)
{
    guint32 le = GUINT32_TO_LE((guint32)strlen(json));
    GByteArray *frame = g_byte_array_new();

    g_byte_array_append(frame, (const guint8 *)&le, sizeof(le));
    g_byte_array_append(frame, (const guint8 *)json, (guint)strlen(json));
    return frame;
}

void vmm_send(Vmm *vmm, const char *json, const int *fds, guint n_fds)
{
    g_autoptr(GByteArray) frame = frame_of(json);

    vmm_send_bytes(vmm, frame->data, frame->len, fds, n_fds);
}

/* FALSE if the agent has closed the connection. */
gboolean vmm_try_send(Vmm *vmm, const char *json)
{
    g_autoptr(GByteArray) frame = frame_of(json);

    return send_with_fds(vmm->fd, frame->data, frame->len, NULL, 0) == (ssize_t)frame->len;
}

static void wait_readable(Vmm *vmm)
{
    struct pollfd p = { .fd = vmm->fd, .events = POLLIN };

    g_assert_cmpint(poll(&p, 1, DEADLINE_MS), ==, 1);
}

gboolean vmm_has_answer(Vmm *vmm)
{
    struct pollfd p = { .fd = vmm->fd, .events = POLLIN };

    return poll(&p, 1, 0) == 1;
}

static void receive_bytes(Vmm *vmm, void *buffer, gsize size)
{
    char *p = buffer;

    while (size > 0) {
        ssize_t n;

        wait_readable(vmm);
        n = recv(vmm->fd, p, size, 0);
        g_assert_no_errno(n);
        g_assert_cmpint(n, >, 0);
        p += n;
        size -= (gsize)n;
    }
}

/* The next message of the agent; the caller owns it. */
JsonObject *vmm_receive(Vmm *vmm)
{
    g_autoptr(JsonNode) node = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *body = NULL;
    guint32 le;

    receive_bytes(vmm, &le, sizeof(le));
    g_assert_cmpuint(GUINT32_FROM_LE(le), >=, 1);
    g_assert_cmpuint(GUINT32_FROM_LE(le), <=, 1024 * 1024);
    body = g_malloc0(GUINT32_FROM_LE(le) + 1);
    receive_bytes(vmm, body, GUINT32_FROM_LE(le));
    node = json_from_string(body, &error);
    g_assert_no_error(error);
    g_assert_true(JSON_NODE_HOLDS_OBJECT(node));
    return json_node_dup_object(node);
}

/* The agent closes the connection, and sends nothing more before. */
void vmm_expect_eof(Vmm *vmm)
{
    char byte;
    ssize_t n;

    wait_readable(vmm);
    n = recv(vmm->fd, &byte, 1, 0);
    g_assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

static JsonObject *call_va(Vmm *vmm, int fd, const char *type, const char *members, va_list args)
{
    g_autofree char *more = g_strdup_vprintf(members, args);
    g_autofree char *json = g_strdup_printf("{\"type\":\"%s\",\"id\":%" G_GINT64_FORMAT "%s%s}", type,
                                            ++vmm->id, *more ? "," : "", more);
    JsonObject *answer;

    vmm_send(vmm, json, &fd, fd >= 0 ? 1 : 0);
    answer = vmm_receive(vmm);
    g_assert_cmpint(json_object_get_int_member(answer, "id"), ==, vmm->id);
    return answer;
}

JsonObject *vmm_call(Vmm *vmm, int fd, const char *type, const char *members, ...)
{
    JsonObject *answer;
    va_list args;

    va_start(args, members);
    answer = call_va(vmm, fd, type, members, args);
    va_end(args);
    return answer;
}

void vmm_call_ok(Vmm *vmm, int fd, const char *type, const char *members, ...)
{
    g_autoptr(JsonObject) answer = NULL;
    va_list args;

    va_start(args, members);
    answer = call_va(vmm, fd, type, members, args);
    va_end(args);
    if (json_object_has_member(answer, "message"))
        g_test_message("%s", json_object_get_string_member(answer, "message"));
    g_assert_cmpstr(json_object_get_string_member(answer, "type"), ==, "ok");
}

void vmm_expect_error(JsonObject *answer, const char *code)
{
    g_assert_cmpstr(json_object_get_string_member(answer, "type"), ==, "error");
    g_assert_cmpstr(json_object_get_string_member(answer, "code"), ==, code);
    g_assert_cmpuint(strlen(json_object_get_string_member(answer, "message")), >, 0);
}

void vmm_hello(Vmm *vmm, const char *name, const char *uuid)
{
    g_autoptr(JsonObject) answer =
        vmm_call(vmm, -1, "hello",
                 "\"version\":1,\"vmm\":\"test-vmm\",\"vmm_version\":\"1\",\"name\":\"%s\",\"uuid\":\"%s\"",
                 name, uuid);

    if (json_object_has_member(answer, "message"))
        g_test_message("%s", json_object_get_string_member(answer, "message"));
    g_assert_cmpstr(json_object_get_string_member(answer, "type"), ==, "hello");
    g_assert_cmpint(json_object_get_int_member(answer, "version"), ==, 1);
    g_assert_cmpint(json_object_get_int_member(answer, "max_ranges"), ==, 65536);
}

int vmm_memfd(const void *content, gsize size, int seals)
{
    int fd = memfd_create("ranges", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    g_assert_no_errno(fd);
    g_assert_cmpint(write(fd, content, size), ==, (ssize_t)size);
    if (seals != 0)
        g_assert_no_errno(fcntl(fd, F_ADD_SEALS, seals));
    return fd;
}

/* A memfd of records as the protocol wants it. */
int vmm_ranges_memfd(const VmmRecord *records, guint n)
{
    g_autofree guint64 *le = g_new(guint64, 2 * n);

    for (guint i = 0; i < n; i++) {
        le[2 * i] = GUINT64_TO_LE(records[i].offset);
        le[2 * i + 1] = GUINT64_TO_LE(records[i].length);
    }
    return vmm_memfd(le, 2 * n * sizeof(guint64), ALL_SEALS);
}

/* Sends a poison request and does not wait for its answer. */
void vmm_request_poison(Vmm *vmm, const char *block, const VmmRecord *records, guint n)
{
    int fd = vmm_ranges_memfd(records, n);
    g_autofree char *json = g_strdup_printf(
        "{\"type\":\"poison\",\"id\":%" G_GINT64_FORMAT ",\"block\":\"%s\",\"count\":%u}", ++vmm->id, block, n);

    vmm_send(vmm, json, &fd, 1);
    close(fd);
}

JsonObject *vmm_poison(Vmm *vmm, const char *block, const VmmRecord *records, guint n)
{
    JsonObject *answer;

    vmm_request_poison(vmm, block, records, n);
    answer = vmm_receive(vmm);
    g_assert_cmpint(json_object_get_int_member(answer, "id"), ==, vmm->id);
    return answer;
}
