/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "policy.h"

#define CONFIG_DEFAULT_FILE           HWPOISOND_SYSCONFDIR "/hwpoisond/hwpoisond.conf"
#define CONFIG_DEFAULT_VMM_SOCKET     "/run/hwpoisond/vmm.sock"
#define CONFIG_DEFAULT_CONTROL_SOCKET "/run/hwpoisond/control.sock"

typedef struct {
    char *vmm_socket;
    char *vmm_group; /* or NULL */
    guint max_connections;
    guint max_connections_per_cgroup;
    guint max_connections_per_process;
    char *control_socket;
    char *control_group; /* or NULL */
    Policy policy;
    GLogLevelFlags log_level;
} Config;

Config *config_new(void);
void config_free(Config *config);
Config *config_load(const char *file, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Config, config_free)
