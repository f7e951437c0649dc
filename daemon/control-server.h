/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "config.h"
#include "inventory.h"
#include "util/closer.h"
#include "util/listener.h"
#include "vmm-server.h"

#define CONTROL_MAX_CONNECTIONS 32u

typedef struct ControlServer ControlServer;

/* What requests are answered from. */
typedef struct {
    const Inventory *inventory;
    const VmmServer *vmm_server;
    const char *vmm_socket;
    Policy policy;
} ControlView;

ControlServer *control_server_new(Listener *listener, Closer *closer, const ControlView *view);
void control_server_stop(ControlServer *server);
guint control_server_connections(const ControlServer *server);
void control_server_free(ControlServer *server);
void control_server_set_policy(ControlServer *server, const Policy *policy);

/* control-answers.c */
char *control_answer(const ControlView *view, const char *body, gsize size, gboolean *ret_fatal);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ControlServer, control_server_free)
