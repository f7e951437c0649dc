/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <json-glib/json-glib.h>

#define ENVELOPE_MAX_ID   ((G_GINT64_CONSTANT(1) << 53) - 1)
#define ENVELOPE_MAX_TYPE 255u

JsonNode *envelope_parse(const char *body, gsize size, guint max_words, gint64 *ret_id,
                         const char **ret_type, GError **error);
