/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <json-glib/json-glib.h>

#define JSON_STRICT_MAX_DEPTH 8u
#define JSON_STRICT_MAX_WORDS 131072u
#define JSON_STRICT_MAX_MEMBERS 32u /* of one object */

JsonNode *json_strict_parse(const char *text, gsize size, guint max_words, GError **error);
