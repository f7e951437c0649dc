/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "config.h"
#include "inventory.h"
#include "poison-job.h"
#include "util/closer.h"
#include "util/listener.h"

typedef struct VmmServer VmmServer;

VmmServer *vmm_server_new(Listener *listener, const Config *config, Inventory *inventory, PoisonPool *pool,
                          Closer *closer);
void vmm_server_free(VmmServer *server);
void vmm_server_set_config(VmmServer *server, const Config *config);
void vmm_server_stop(VmmServer *server);
guint vmm_server_connections(const VmmServer *server);
gboolean vmm_server_can_poison(const VmmServer *server);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmmServer, vmm_server_free)
