/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "layout.h"
#include "ledger.h"
#include "poison-set.h"
#include "util/peer.h"

#define GUEST_MAX_NAME 255u
#define GUEST_MAX_VMM  63u

typedef enum {
    GUEST_GREETED,   /* said hello; no layout yet: nothing can be poisoned */
    GUEST_READY,     /* has a layout; waits */
    GUEST_POISONING, /* the same, between poison-begin and poison-end: its userfaultfd is here */
    GUEST_STATE_COUNT_,
} GuestState;

typedef struct {
    char *name; /* "" if not told; as it came: print through text_printable() */
    char *uuid; /* "" if not told; lower case */
    char *vmm;
    char *vmm_version;
    Peer peer;

    GuestState state;
    Layout *layout; /* or NULL */
    PoisonSet *set;
    guint64 set_pages;  /* pages in the set, of their block's size */
    guint64 held_pages; /* base pages in the set, and poisoned here since the VMM last told its set */
    Account *account;   /* of its process, or NULL */

    gint64 since_us; /* wall clock, when it said hello */
    guint64 pages_poisoned;
    guint64 pages_failed;
    guint64 requests;
    guint64 refused;
    char *last_error; /* "code: message", or NULL */
} Guest;

Guest *guest_new(const char *name, const char *uuid, const char *vmm, const char *vmm_version);
void guest_free(Guest *guest);
char *guest_label(const Guest *guest);
const char *guest_state_name(GuestState state);
void guest_set_layout(Guest *guest, Layout *layout);
int guest_tell_set(Guest *guest, gboolean replace, GArray *ranges);
guint64 guest_held_pages(const Guest *guest);
void guest_count_refusal(Guest *guest, const GError *error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Guest, guest_free)
