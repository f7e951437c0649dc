/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <json-glib/json-glib.h>

gboolean member_int(JsonObject *object, const char *where, const char *name, gint64 min, gint64 max,
                    gint64 *ret_value, GError **error);
gboolean member_string(JsonObject *object, const char *where, const char *name, gsize min_size,
                       gsize max_size, const char **ret_value, GError **error);
gboolean member_bool(JsonObject *object, const char *where, const char *name, gboolean *ret_value,
                     GError **error);
JsonArray *member_array(JsonObject *object, const char *where, const char *name, GError **error);
const char *element_string(JsonArray *array, guint index, const char *where, gsize max_size, GError **error);
JsonObject *element_object(JsonArray *array, guint index, const char *where, GError **error);
