/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

char *text_printable(const char *text);
char *text_json_for_terminal(const char *json);
