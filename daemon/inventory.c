/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All guests of this host
 *
 * The rule of identity lives here: at any time a process has at most one guest, and a name or UUID
 * belongs to at most one live process. A new connection of the same process replaces its old one.
 * Between processes the first one keeps the identity until it exits: a second VMM that claims it is
 * refused. A process that has exited does not hold one, even if its socket is still open in a child.
 */
#include "inventory.h"

#include <string.h>

#include "util/proto-error.h"

/**
 * inventory_new() - no guests
 */
Inventory *inventory_new(void)
{
    Inventory *inventory = g_new0(Inventory, 1);

    inventory->guests = g_ptr_array_new();
    inventory->since_us = g_get_real_time();
    return inventory;
}

/**
 * inventory_free() - free the inventory, not the guests
 * @inventory: the inventory, or NULL
 */
void inventory_free(Inventory *inventory)
{
    if (!inventory)
        return;
    g_ptr_array_unref(inventory->guests);
    g_free(inventory);
}

/**
 * inventory_guest() - one guest
 * @inventory: the inventory
 * @index: below guests->len
 */
Guest *inventory_guest(const Inventory *inventory, guint index)
{
    return g_ptr_array_index(inventory->guests, index);
}

static gboolean same_word(const char *a, const char *b)
{
    return *a && g_str_equal(a, b);
}

/* Does another process hold the identity of a guest, and is it alive? */
static gboolean is_taken(const Guest *guest, const Guest *other)
{
    return !peer_same_process(&guest->peer, &other->peer) &&
           (same_word(guest->name, other->name) || same_word(guest->uuid, other->uuid)) &&
           peer_alive(&other->peer);
}

/**
 * inventory_may_add() - is the identity of a new guest free?
 * @inventory: the inventory
 * @guest: a guest that is not in it, with its peer known
 * @error: PROTO_ERROR_IDENTITY_IN_USE if another live process has the name or UUID
 */
gboolean inventory_may_add(const Inventory *inventory, const Guest *guest, GError **error)
{
    for (guint i = 0; i < inventory->guests->len; i++) {
        Guest *other = inventory_guest(inventory, i);
        gboolean name = same_word(guest->name, other->name);

        if (!is_taken(guest, other))
            continue;
        g_set_error(error, PROTO_ERROR, PROTO_ERROR_IDENTITY_IN_USE, "hello: %s '%s' is in use by process %d",
                    name ? "name" : "uuid", name ? guest->name : guest->uuid, (int)other->peer.pid);
        return FALSE;
    }
    return TRUE;
}

/**
 * inventory_replaced() - which known guest goes when a new one comes?
 * @inventory: the inventory
 * @guest: a guest that inventory_may_add() allows
 *
 * To be called until it returns NULL, as a new guest can take the place of several dead ones.
 *
 * Return: a guest of the same process, or of a dead process with the same name or UUID, or NULL.
 */
Guest *inventory_replaced(const Inventory *inventory, const Guest *guest)
{
    for (guint i = 0; i < inventory->guests->len; i++) {
        Guest *other = inventory_guest(inventory, i);

        if (peer_same_process(&guest->peer, &other->peer) || same_word(guest->name, other->name) ||
            same_word(guest->uuid, other->uuid))
            return other;
    }
    return NULL;
}

/**
 * inventory_add() - add a guest that conflicts with none
 * @inventory: the inventory
 * @guest: the guest; stays the caller's
 */
void inventory_add(Inventory *inventory, Guest *guest)
{
    g_ptr_array_add(inventory->guests, guest);
}

/**
 * inventory_remove() - take a guest out
 * @inventory: the inventory
 * @guest: a guest that may be in it
 */
void inventory_remove(Inventory *inventory, Guest *guest)
{
    g_ptr_array_remove(inventory->guests, guest);
}

/**
 * inventory_has_room() - can more of poison sets be kept?
 * @inventory: the inventory
 * @guest: whose set it is
 * @replace: is what it has now forgotten?
 * @ranges: how many more
 *
 * Besides the limit of each guest there is one of all together, so that many hostile VMMs cannot have
 * the agent's memory either.
 */
gboolean inventory_has_room(const Inventory *inventory, const Guest *guest, gboolean replace, guint ranges)
{
    guint64 total = ranges;

    for (guint i = 0; i < inventory->guests->len; i++) {
        const Guest *other = inventory_guest(inventory, i);

        if (!replace || other != guest)
            total += other->set->len;
    }
    return total <= INVENTORY_MAX_RANGES;
}

static Guest *find_pid(const Inventory *inventory, const char *key)
{
    for (guint i = 0; i < inventory->guests->len; i++) {
        Guest *guest = inventory_guest(inventory, i);
        g_autofree char *pid = g_strdup_printf("%d", (int)guest->peer.pid);

        if (g_str_equal(pid, key))
            return guest;
    }
    return NULL;
}

/* A UUID is one first: nothing else is equal to one, and a guest must not hide another by its name. */
static Guest *find_word(const Inventory *inventory, const char *key)
{
    g_autofree char *uuid = g_ascii_strdown(key, -1);
    Guest *by_name = NULL;

    for (guint i = 0; i < inventory->guests->len; i++) {
        Guest *guest = inventory_guest(inventory, i);

        if (same_word(guest->uuid, uuid))
            return guest;
        if (same_word(guest->name, key))
            by_name = guest;
    }
    return by_name;
}

static Guest *no_such_guest(const char *kinds, const char *key, GError **error)
{
    g_set_error(error, PROTO_ERROR, PROTO_ERROR_NO_SUCH_GUEST, "no guest here has the %s '%s'", kinds, key);
    return NULL;
}

/**
 * inventory_find() - the guest that an operator means
 * @inventory: the inventory
 * @key: a UUID, a name, or a process id; after "pid:" always a process id
 * @error: PROTO_ERROR_NO_SUCH_GUEST, or PROTO_ERROR_AMBIGUOUS_GUEST if it is one guest's name and the process
 *         id of another: names are chosen by VMMs
 *
 * Return: the guest, or NULL.
 */
Guest *inventory_find(const Inventory *inventory, const char *key, GError **error)
{
    const char *pid = g_str_has_prefix(key, INVENTORY_PID) ? key + strlen(INVENTORY_PID) : NULL;
    Guest *by_pid = find_pid(inventory, pid ? pid : key);
    Guest *by_word = pid ? NULL : find_word(inventory, key);

    if (!by_pid && !by_word)
        return no_such_guest(pid ? "process id" : "name, UUID or process id", pid ? pid : key, error);
    if (!by_pid || !by_word || by_pid == by_word)
        return by_pid ? by_pid : by_word;
    g_set_error(error, PROTO_ERROR, PROTO_ERROR_AMBIGUOUS_GUEST,
                "'%s' is the name of the guest of process %d, and the process id of another guest: "
                "say %s%d or %s%s",
                key, (int)by_word->peer.pid, INVENTORY_PID, (int)by_word->peer.pid, INVENTORY_PID, key);
    return NULL;
}
