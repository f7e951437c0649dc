/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

typedef struct Closer Closer;
typedef void (*CloserDone)(gpointer user_data);

Closer *closer_new(guint max_threads, GError **error);
void closer_allow(Closer *closer, guint max_threads);
void closer_free(Closer *closer);
void closer_close(Closer *closer, GArray *fds, CloserDone done, gpointer user_data);
gboolean closer_close_if_harmless(int sock);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Closer, closer_free)
