/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <json-glib/json-glib.h>

void report_status(GString *out, JsonObject *status);
void report_list(GString *out, JsonArray *guests);
void report_guest(GString *out, JsonObject *guest, JsonArray *blocks, JsonArray *ranges);
