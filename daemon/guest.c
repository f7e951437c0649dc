/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the agent knows about one guest
 *
 * A guest exists here from its VMM's hello to the end of that connection. All of it is the VMM's
 * own account, repeated by the VMM whenever it reconnects, so nothing is written to disk and nothing
 * is lost with the agent. Only the main thread touches a guest.
 */
#include "guest.h"

static const char *const state_names[] = {
    [GUEST_GREETED] = "greeted",
    [GUEST_READY] = "ready",
    [GUEST_POISONING] = "poisoning",
};
G_STATIC_ASSERT(G_N_ELEMENTS(state_names) == GUEST_STATE_COUNT_);

/**
 * guest_state_name() - the inventory's word for a state
 * @state: the state
 */
const char *guest_state_name(GuestState state)
{
    return state_names[state];
}

/**
 * guest_new() - a guest that has just said hello
 * @name: its name, or ""
 * @uuid: its UUID, or ""
 * @vmm: its VMM's name
 * @vmm_version: and version
 *
 * Return: a guest without a peer; to be freed with guest_free().
 */
Guest *guest_new(const char *name, const char *uuid, const char *vmm, const char *vmm_version)
{
    Guest *guest = g_new0(Guest, 1);

    guest->name = g_strdup(name);
    guest->uuid = g_ascii_strdown(uuid, -1);
    guest->vmm = g_strdup(vmm);
    guest->vmm_version = g_strdup(vmm_version);
    guest->peer = PEER_NULL;
    guest->set = poison_set_new();
    guest->since_us = g_get_real_time();
    return guest;
}

/**
 * guest_free() - forget a guest
 * @guest: the guest, or NULL
 */
void guest_free(Guest *guest)
{
    if (!guest)
        return;
    g_free(guest->name);
    g_free(guest->uuid);
    g_free(guest->vmm);
    g_free(guest->vmm_version);
    g_free(guest->last_error);
    account_close(guest->account);
    peer_deinit(&guest->peer);
    layout_free(guest->layout);
    g_array_unref(guest->set);
    g_free(guest);
}

/**
 * guest_label() - what to call a guest in a message
 * @guest: the guest
 *
 * Return: a new string: its name, else its UUID, else "pid N". Not safe to print as it is.
 */
char *guest_label(const Guest *guest)
{
    if (*guest->name)
        return g_strdup(guest->name);
    if (*guest->uuid)
        return g_strdup(guest->uuid);
    return g_strdup_printf("pid %d", (int)guest->peer.pid);
}

/**
 * guest_set_layout() - replace the layout
 * @guest: the guest
 * @layout: the new layout, which the guest takes over
 *
 * The poison set stays, for blocks that stay.
 */
void guest_set_layout(Guest *guest, Layout *layout)
{
    if (guest->layout && guest->set->len > 0) {
        PoisonSet *moved = poison_set_move(guest->set, guest->layout, layout);

        g_array_unref(guest->set);
        guest->set = moved;
        guest->set_pages = poison_set_pages(moved, layout);
    }
    layout_free(guest->layout);
    guest->layout = layout;
}

/**
 * guest_tell_set() - take over what the VMM tells about its poison
 * @guest: a guest with a layout
 * @replace: forget what was told before
 * @ranges: PoisonRange, checked against the layout; is sorted by this
 *
 * A full account also corrects what the agent believes the guest to hold: pages heal when a guest
 * is reset.
 *
 * Return: 0, or -ENOSPC if there are too many ranges to keep.
 */
int guest_tell_set(Guest *guest, gboolean replace, GArray *ranges)
{
    guint64 pages;
    int r;

    if (replace) {
        g_array_unref(guest->set); /* gives the memory back */
        guest->set = poison_set_new();
    }
    r = poison_set_add(guest->set, ranges);
    guest->set_pages = poison_set_pages(guest->set, guest->layout);
    pages = poison_set_bytes(guest->set) / layout_base_page();
    guest->held_pages = replace ? pages : MAX(guest->held_pages, pages);
    return r;
}

/**
 * guest_held_pages() - base pages that count against the limit of policy
 * @guest: the guest
 *
 * What the VMM tells can make it more than what its process was given, never less.
 */
guint64 guest_held_pages(const Guest *guest)
{
    return MAX(guest->held_pages, account_pages(guest->account));
}

/**
 * guest_count_refusal() - remember that a request was refused
 * @guest: the guest
 * @error: why
 */
void guest_count_refusal(Guest *guest, const GError *error)
{
    guest->refused++;
    g_free(guest->last_error);
    guest->last_error = g_strdup(error->message);
}
