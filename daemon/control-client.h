/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <json-glib/json-glib.h>

typedef struct ControlClient ControlClient;

ControlClient *control_client_new(const char *path, GError **error);
void control_client_free(ControlClient *client);
JsonNode *control_client_call(ControlClient *client, const char *type, const char *guest, GError **error);
JsonArray *control_client_call_list(ControlClient *client, const char *type, const char *guest,
                                    GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ControlClient, control_client_free)
