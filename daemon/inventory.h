/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "guest.h"

#define INVENTORY_MAX_RANGES (4u * POISON_SET_MAX_RANGES) /* of all guests: 32 MiB */
#define INVENTORY_PID        "pid:" /* before a process id that is to be no name */

typedef struct {
    GPtrArray *guests;      /* Guest, of live connections, not owned */
    guint64 pages_poisoned; /* since the agent started, also of guests that are gone */
    guint64 requests;
    guint64 refused;
    gint64 since_us;
} Inventory;

Inventory *inventory_new(void);
void inventory_free(Inventory *inventory);
gboolean inventory_may_add(const Inventory *inventory, const Guest *guest, GError **error);
Guest *inventory_replaced(const Inventory *inventory, const Guest *guest);
void inventory_add(Inventory *inventory, Guest *guest);
void inventory_remove(Inventory *inventory, Guest *guest);
gboolean inventory_has_room(const Inventory *inventory, const Guest *guest, gboolean replace, guint ranges);
Guest *inventory_find(const Inventory *inventory, const char *key, GError **error);
Guest *inventory_guest(const Inventory *inventory, guint index);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Inventory, inventory_free)
