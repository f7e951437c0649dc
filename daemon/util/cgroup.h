/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <sys/types.h>

char *cgroup_of(pid_t pid);
gboolean cgroup_is_empty(const char *cgroup);
guint64 cgroup_own_tables(void);
