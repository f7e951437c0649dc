/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <sys/types.h>

#define FRAME_HEADER_SIZE 4u
#define FRAME_MAX_BODY    (1024u * 1024u)

/* What frame_reader_read() found; a negative errno is a broken socket. */
enum {
    FRAME_E_MESSAGE = 0,  /* a whole message is in the reader */
    FRAME_E_MORE,         /* no more to read now */
    FRAME_E_EOF,          /* the peer closed its end */
    FRAME_E_BAD_LENGTH,   /* length 0 or over FRAME_MAX_BODY */
    FRAME_E_TOO_MANY_FDS, /* more than one descriptor in one message */
};

typedef struct {
    guint8 header[FRAME_HEADER_SIZE];
    gsize got;       /* bytes of this message read so far, header included */
    gsize size;      /* of the body; valid when got >= FRAME_HEADER_SIZE */
    gsize allocated; /* of the body, without the final NUL */
    char *body;
    int fd;           /* that came with the first byte, or -1; owned */
    gboolean late_fd; /* a descriptor came with a later byte */
    guint n_fds;
    GArray *unwanted; /* int: all but the first, or NULL; owned */
} FrameReader;

void frame_reader_init(FrameReader *reader);
void frame_reader_deinit(FrameReader *reader);
int frame_reader_read(FrameReader *reader, int sock);
int frame_reader_take_fd(FrameReader *reader);
void frame_reader_move_fds(FrameReader *reader, GArray *to);
void frame_reader_reset(FrameReader *reader);

ssize_t frame_send(int sock, const char *body, gsize size, gsize skip);
