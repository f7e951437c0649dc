/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames on a stream socket
 *
 * A message is a little-endian 32-bit length and that many bytes of body, with at most one file
 * descriptor, which rides on the first byte. The reader asks the kernel for exactly the bytes that
 * the message at hand still lacks, never more: only so does a descriptor that the kernel delivers
 * with some bytes belong to the message of these bytes, also when the peer sends several messages
 * in a row. Two calls of recvmsg() per message are the price.
 *
 * The reader trusts nothing. It allocates as bytes arrive, not as the header promises, so that a
 * peer has to send a megabyte to make the agent hold one. It has room in its control
 * buffer for all the descriptors that the kernel lets one send (253): what does not fit, the kernel closes
 * inside recvmsg(), and a close() can block (closer.c). For the same reason the caller can have all of them
 * before the reader closes what nobody took.
 *
 * A reader holds one message at a time: read until FRAME_E_MESSAGE, use body and size, take the
 * descriptor if it is wanted, reset.
 */
#include "frame.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FDS 253u /* in one message; the kernel's SCM_MAX_FD */
#define FIRST_ALLOCATION 4096u /* kept from message to message */

/**
 * frame_reader_init() - make a reader ready for the first message
 * @reader: uninitialised memory
 */
void frame_reader_init(FrameReader *reader)
{
    *reader = (FrameReader){ .fd = -1 };
}

/**
 * frame_reader_deinit() - free what a reader holds, including an untaken descriptor
 * @reader: an initialised reader
 */
void frame_reader_deinit(FrameReader *reader)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));

    frame_reader_move_fds(reader, fds);
    for (guint i = 0; i < fds->len; i++)
        close(g_array_index(fds, int, i));
    g_free(reader->body);
    frame_reader_init(reader);
}

static void keep_fd(FrameReader *reader, int fd)
{
    reader->n_fds++;
    if (reader->n_fds == 1 && reader->got == 0) {
        reader->fd = fd;
        return;
    }
    reader->late_fd = TRUE;
    if (!reader->unwanted)
        reader->unwanted = g_array_new(FALSE, FALSE, sizeof(int));
    g_array_append_val(reader->unwanted, fd);
}

/* Collects the descriptors of one recvmsg(), made while reader->got still was the position before. */
static void collect_fds(FrameReader *reader, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        gsize n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (gsize i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            keep_fd(reader, fd);
        }
    }
    if (msg->msg_flags & MSG_CTRUNC)
        reader->n_fds = MAX(reader->n_fds, 2);
}

static ssize_t receive(FrameReader *reader, int sock, void *buffer, gsize size)
{
    union {
        char space[CMSG_SPACE(MAX_FDS * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = { .iov_base = buffer, .iov_len = size };
    struct msghdr msg = { .msg_iov = &iov,
                          .msg_iovlen = 1,
                          .msg_control = control.space,
                          .msg_controllen = sizeof(control.space) };
    ssize_t n;

    do
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    collect_fds(reader, &msg);
    reader->got += (gsize)n;
    return n;
}

/* Makes room for at least one more byte of the body; returns where it goes and how much fits. */
static char *body_room(FrameReader *reader, gsize *ret_room)
{
    gsize have = reader->got - FRAME_HEADER_SIZE;

    if (have == reader->allocated || !reader->body) {
        gsize wanted = MAX(FIRST_ALLOCATION, 2 * reader->allocated);

        reader->allocated = MIN(wanted, FRAME_MAX_BODY);
        reader->body = g_realloc(reader->body, reader->allocated + 1);
    }
    *ret_room = MIN(reader->allocated, reader->size) - have;
    return reader->body + have;
}

static int read_some(FrameReader *reader, int sock)
{
    ssize_t n;

    if (reader->got < FRAME_HEADER_SIZE) {
        n = receive(reader, sock, reader->header + reader->got, FRAME_HEADER_SIZE - reader->got);
    } else {
        gsize room;
        char *end = body_room(reader, &room);

        n = receive(reader, sock, end, room);
    }
    if (n == -EAGAIN)
        return FRAME_E_MORE;
    if (n <= 0)
        return n == 0 ? FRAME_E_EOF : (int)n;
    return reader->n_fds > 1 ? FRAME_E_TOO_MANY_FDS : FRAME_E_MESSAGE;
}

static gboolean parse_header(FrameReader *reader)
{
    guint32 le;

    memcpy(&le, reader->header, sizeof(le));
    reader->size = GUINT32_FROM_LE(le);
    return reader->size >= 1 && reader->size <= FRAME_MAX_BODY;
}

/**
 * frame_reader_read() - read on, at most to the end of one message
 * @reader: the reader; a message in it must have been reset
 * @sock: a stream socket; FRAME_E_MORE comes only from one that does not block or has a time limit
 *
 * After FRAME_E_MESSAGE, reader->body holds reader->size bytes and a final NUL.
 *
 * Return: a FRAME_E_ value, or a negative errno.
 */
int frame_reader_read(FrameReader *reader, int sock)
{
    do {
        int r = read_some(reader, sock);

        if (r != 0)
            return r;
        if (reader->got == FRAME_HEADER_SIZE && !parse_header(reader))
            return FRAME_E_BAD_LENGTH;
    } while (reader->got < FRAME_HEADER_SIZE || reader->got < FRAME_HEADER_SIZE + reader->size);
    reader->body[reader->size] = '\0';
    return FRAME_E_MESSAGE;
}

/**
 * frame_reader_take_fd() - take the descriptor of the message over
 * @reader: the reader
 *
 * Return: the descriptor, which the caller now owns, or -1.
 */
int frame_reader_take_fd(FrameReader *reader)
{
    int fd = reader->fd;

    reader->fd = -1;
    return fd;
}

/**
 * frame_reader_move_fds() - take over all descriptors that are still here
 * @reader: the reader
 * @to: int; they are appended, and then the caller's
 */
void frame_reader_move_fds(FrameReader *reader, GArray *to)
{
    if (reader->fd >= 0)
        g_array_append_val(to, reader->fd);
    reader->fd = -1;
    if (reader->unwanted)
        g_array_append_vals(to, reader->unwanted->data, reader->unwanted->len);
    g_clear_pointer(&reader->unwanted, g_array_unref);
}

/**
 * frame_reader_reset() - forget the message, so that the next can be read
 * @reader: the reader
 *
 * Closes descriptors that nobody took, and gives a large buffer back.
 */
void frame_reader_reset(FrameReader *reader)
{
    char *body = reader->allocated > FIRST_ALLOCATION ? NULL : g_steal_pointer(&reader->body);

    frame_reader_deinit(reader);
    reader->body = body;
    reader->allocated = body ? FIRST_ALLOCATION : 0;
}

/**
 * frame_send() - send a message, or what is left of it
 * @sock: a stream socket
 * @body: the body
 * @size: its size, 1 to FRAME_MAX_BODY
 * @skip: bytes of the message (header included) that earlier calls have sent
 *
 * Never blocks, never raises SIGPIPE. Safe in any thread. Without sendmsg(), which the agent may not use
 * (sandbox.c).
 *
 * Return: bytes sent now (the message has FRAME_HEADER_SIZE + @size), or a negative errno.
 */
ssize_t frame_send(int sock, const char *body, gsize size, gsize skip)
{
    guint32 le = GUINT32_TO_LE((guint32)size);
    g_autofree char *frame = g_malloc(FRAME_HEADER_SIZE + size);
    ssize_t n;

    memcpy(frame, &le, FRAME_HEADER_SIZE);
    memcpy(frame + FRAME_HEADER_SIZE, body, size);
    do
        n = send(sock, frame + skip, FRAME_HEADER_SIZE + size - skip, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}
