/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct {
    char *path;
    int fd;      /* listening, non-blocking; owned */
    int lock_fd; /* or -1 when the socket came from systemd; owned */
    dev_t dev;   /* of the socket's file */
    ino_t ino;
} Listener;

Listener *listener_open(const char *path, const char *group, GError **error);
Listener *listener_adopt(int fd, const char *path, GError **error);
void listener_free(Listener *listener);
int listener_accept(Listener *listener);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Listener, listener_free)
