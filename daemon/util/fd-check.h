/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

gboolean fd_is_userfaultfd(int fd);
int fd_check_sealed_memfd(int fd, guint64 size);
int fd_pread_all(int fd, void *buffer, gsize size);
