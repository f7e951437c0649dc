/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames: whole, in pieces, cut short, too long, and with descriptors in all the wrong places
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/frame.h"

typedef struct {
    int ours, theirs;
    FrameReader reader;
} Pair;

static void pair_open(Pair *p)
{
    int fds[2];

    g_assert_no_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds));
    p->ours = fds[0];
    p->theirs = fds[1];
    frame_reader_init(&p->reader);
}

static void pair_close(Pair *p)
{
    frame_reader_deinit(&p->reader);
    close(p->ours);
    if (p->theirs >= 0)
        close(p->theirs);
}

static void put(Pair *p, const void *bytes, gsize size, guint n_fds)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    char control[CMSG_SPACE(16 * sizeof(int))] = { 0 };
    struct iovec iov = { .iov_base = (void *)bytes, .iov_len = size };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (n_fds > 0) {
        struct cmsghdr *c;

        msg.msg_control = control;
        msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        for (guint i = 0; i < n_fds; i++)
            memcpy(CMSG_DATA(c) + i * sizeof(int), &null, sizeof(int));
    }
    g_assert_cmpint(sendmsg(p->theirs, &msg, 0), ==, (ssize_t)size);
    close(null);
}

static GByteArray *frame_of(const char *body, guint32 claimed)
{
    GByteArray *frame = g_byte_array_new();
    guint32 le = GUINT32_TO_LE(claimed);

    g_byte_array_append(frame, (const guint8 *)&le, sizeof(le));
    g_byte_array_append(frame, (const guint8 *)body, (guint)strlen(body));
    return frame;
}

static void expect_body(Pair *p, const char *body)
{
    g_assert_cmpint(frame_reader_read(&p->reader, p->ours), ==, FRAME_E_MESSAGE);
    g_assert_cmpuint(p->reader.size, ==, strlen(body));
    g_assert_cmpstr(p->reader.body, ==, body);
    frame_reader_reset(&p->reader);
}

static void test_in_a_row(void)
{
    g_autoptr(GByteArray) a = frame_of("one", 3), b = frame_of("two!", 4);
    Pair p;

    pair_open(&p);
    g_byte_array_append(a, b->data, b->len);
    put(&p, a->data, a->len, 0);
    expect_body(&p, "one");
    expect_body(&p, "two!");
    g_assert_cmpint(frame_reader_read(&p.reader, p.ours), ==, FRAME_E_MORE);
    pair_close(&p);
}

static void test_dribble(void)
{
    g_autoptr(GByteArray) frame = frame_of("dribbled", 8);
    Pair p;

    pair_open(&p);
    for (guint i = 0; i < frame->len; i++) {
        g_assert_cmpint(frame_reader_read(&p.reader, p.ours), ==, FRAME_E_MORE);
        put(&p, frame->data + i, 1, 0);
    }
    expect_body(&p, "dribbled");
    pair_close(&p);
}

/* Cut after each byte: the end, never a message. */
static void test_truncated(void)
{
    g_autoptr(GByteArray) frame = frame_of("truncated", 9);

    for (guint cut = 0; cut < frame->len; cut++) {
        Pair p;

        pair_open(&p);
        if (cut > 0)
            put(&p, frame->data, cut, 0);
        close(p.theirs);
        p.theirs = -1;
        g_assert_cmpint(frame_reader_read(&p.reader, p.ours), ==, FRAME_E_EOF);
        pair_close(&p);
    }
}

static void test_lengths(void)
{
    static const guint32 bad[] = { 0, FRAME_MAX_BODY + 1, G_MAXINT32, G_MAXUINT32 };

    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GByteArray) frame = frame_of("x", bad[i]);
        Pair p;

        pair_open(&p);
        put(&p, frame->data, frame->len, 0);
        g_assert_cmpint(frame_reader_read(&p.reader, p.ours), ==, FRAME_E_BAD_LENGTH);
        pair_close(&p);
    }
}

/* The largest one works, and memory follows what has come, not what was announced. */
static void test_largest(void)
{
    g_autofree char *body = g_strnfill(FRAME_MAX_BODY, 'x');
    guint32 le = GUINT32_TO_LE(FRAME_MAX_BODY);
    gsize sent = 0;
    int r;
    Pair p;

    pair_open(&p);
    put(&p, &le, sizeof(le), 0);
    g_assert_cmpint(frame_reader_read(&p.reader, p.ours), ==, FRAME_E_MORE);
    g_assert_cmpuint(p.reader.allocated, <=, 4096);
    do {
        ssize_t n = send(p.theirs, body + sent, FRAME_MAX_BODY - sent, 0);

        g_assert_no_errno(n);
        sent += (gsize)n;
        r = frame_reader_read(&p.reader, p.ours);
        g_assert_cmpuint(p.reader.allocated, <=, MAX(4096, 2 * sent));
    } while (r == FRAME_E_MORE);
    g_assert_cmpint(r, ==, FRAME_E_MESSAGE);
    g_assert_cmpuint(p.reader.size, ==, FRAME_MAX_BODY);
    frame_reader_reset(&p.reader);
    g_assert_null(p.reader.body);
    pair_close(&p);
}

static guint open_fds(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    guint n = 0;

    while (g_dir_read_name(dir))
        n++;
    return n;
}

static void test_descriptor(void)
{
    g_autoptr(GByteArray) with = frame_of("with", 4), without = frame_of("without", 7);
    Pair p;
    int fd;

    pair_open(&p);
    put(&p, without->data, without->len, 0);
    put(&p, with->data, with->len, 1);
    g_assert_cmpint(frame_reader_read(&p.reader, p.ours), ==, FRAME_E_MESSAGE);
    g_assert_cmpint(p.reader.fd, ==, -1);
    frame_reader_reset(&p.reader);
    g_assert_cmpint(frame_reader_read(&p.reader, p.ours), ==, FRAME_E_MESSAGE);
    fd = frame_reader_take_fd(&p.reader);
    g_assert_cmpint(fcntl(fd, F_GETFD), ==, FD_CLOEXEC);
    frame_reader_reset(&p.reader);
    g_assert_no_errno(fcntl(fd, F_GETFD)); /* taken: the reset did not close it */
    close(fd);
    pair_close(&p);
}

/* Not on the first byte: closed, and said so. */
static void test_late_descriptor(void)
{
    g_autoptr(GByteArray) frame = frame_of("late", 4);

    for (guint at = 1; at < frame->len; at++) {
        guint before = open_fds();
        Pair p;

        pair_open(&p);
        put(&p, frame->data, at, 0);
        g_assert_cmpint(frame_reader_read(&p.reader, p.ours), ==, FRAME_E_MORE);
        put(&p, frame->data + at, frame->len - at, 1);
        g_assert_cmpint(frame_reader_read(&p.reader, p.ours), ==, FRAME_E_MESSAGE);
        g_assert_cmpint(p.reader.fd, ==, -1);
        g_assert_true(p.reader.late_fd);
        pair_close(&p);
        g_assert_cmpuint(open_fds(), ==, before);
    }
}

static void test_too_many_descriptors(void)
{
    g_autoptr(GByteArray) frame = frame_of("many", 4);

    for (guint n = 2; n <= 16; n++) {
        guint before = open_fds();
        Pair p;

        pair_open(&p);
        put(&p, frame->data, frame->len, n);
        g_assert_cmpint(frame_reader_read(&p.reader, p.ours), ==, FRAME_E_TOO_MANY_FDS);
        pair_close(&p);
        g_assert_cmpuint(open_fds(), ==, before);
    }
}

/* One with the first byte and one with a later byte are two. */
static void test_spread_descriptors(void)
{
    g_autoptr(GByteArray) frame = frame_of("many", 4);
    guint before = open_fds();
    Pair p;

    pair_open(&p);
    put(&p, frame->data, 5, 1);
    g_assert_cmpint(frame_reader_read(&p.reader, p.ours), ==, FRAME_E_MORE);
    put(&p, frame->data + 5, 3, 1);
    g_assert_cmpint(frame_reader_read(&p.reader, p.ours), ==, FRAME_E_TOO_MANY_FDS);
    pair_close(&p);
    g_assert_cmpuint(open_fds(), ==, before);
}

static void test_untaken_descriptor(void)
{
    g_autoptr(GByteArray) frame = frame_of("x", 1);
    guint before = open_fds();
    Pair p;

    pair_open(&p);
    for (guint i = 0; i < 10; i++) {
        put(&p, frame->data, frame->len, 1);
        g_assert_cmpint(frame_reader_read(&p.reader, p.ours), ==, FRAME_E_MESSAGE);
        frame_reader_reset(&p.reader);
    }
    pair_close(&p);
    g_assert_cmpuint(open_fds(), ==, before);
}

/* Sending goes on where it stopped, also inside the header. */
static void test_send(void)
{
    static const char body[] = "piece by piece";
    Pair p;

    pair_open(&p);
    g_assert_cmpint(frame_send(p.theirs, body, strlen(body), 0), ==, (ssize_t)(4 + strlen(body)));
    expect_body(&p, body);
    for (gsize skip = 1; skip < 4 + strlen(body); skip++) {
        char got[64];
        ssize_t n = frame_send(p.theirs, body, strlen(body), skip);

        g_assert_cmpint(n, ==, (ssize_t)(4 + strlen(body) - skip));
        g_assert_cmpint(recv(p.ours, got, sizeof(got), 0), ==, n);
        if (skip >= 4)
            g_assert_cmpmem(got, n, body + (skip - 4), strlen(body) - (skip - 4));
    }
    close(p.ours);
    g_assert_cmpint(frame_send(p.theirs, body, strlen(body), 0), ==, -EPIPE);
    p.ours = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pair_close(&p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/frame/in-a-row", test_in_a_row);
    g_test_add_func("/frame/dribble", test_dribble);
    g_test_add_func("/frame/truncated", test_truncated);
    g_test_add_func("/frame/lengths", test_lengths);
    g_test_add_func("/frame/largest", test_largest);
    g_test_add_func("/frame/descriptor", test_descriptor);
    g_test_add_func("/frame/late-descriptor", test_late_descriptor);
    g_test_add_func("/frame/too-many-descriptors", test_too_many_descriptors);
    g_test_add_func("/frame/spread-descriptors", test_spread_descriptors);
    g_test_add_func("/frame/untaken-descriptor", test_untaken_descriptor);
    g_test_add_func("/frame/send", test_send);
    return g_test_run();
}
