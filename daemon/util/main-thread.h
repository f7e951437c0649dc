/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

void main_thread_call(GSourceFunc func, gpointer data);
