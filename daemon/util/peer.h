/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct {
    pid_t pid;
    uid_t uid;
    guint64 start_time; /* of the process, in clock ticks since boot */
    int pidfd;          /* or -1 on kernels without SO_PEERPIDFD; owned */
} Peer;

#define PEER_NULL ((Peer){ .pidfd = -1 })

int peer_init(Peer *peer, int sock);
void peer_deinit(Peer *peer);
gboolean peer_alive(const Peer *peer);
char *peer_cgroup(const Peer *peer);
gboolean peer_same_process(const Peer *a, const Peer *b);
int peer_start_time(pid_t pid, guint64 *ret_ticks);
