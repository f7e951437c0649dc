/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Configuration file
 *
 * A GKeyFile, described in docs/man/hwpoisond.8.rst and data/hwpoisond.conf. One table lists every
 * key with its parser; a group or key that is not in it is an error, since a mistyped limit that is
 * silently ignored is worse than an agent that does not start. Every message names file, group, key
 * and value.
 */
#include "config.h"

#include <string.h>

#include "util/log.h"

typedef gboolean (*ParseValue)(const char *value, gpointer field);

static gboolean parse_path(const char *value, gpointer field)
{
    if (!g_path_is_absolute(value))
        return FALSE;
    g_free(*(char **)field);
    *(char **)field = g_strdup(value);
    return TRUE;
}

static gboolean parse_group(const char *value, gpointer field)
{
    g_free(*(char **)field);
    *(char **)field = *value ? g_strdup(value) : NULL;
    return TRUE;
}

static gboolean parse_connections(const char *value, gpointer field)
{
    guint64 number;

    if (!g_ascii_string_to_unsigned(value, 10, 1, 4096, &number, NULL))
        return FALSE;
    *(guint *)field = (guint)number;
    return TRUE;
}

static gboolean parse_pages(const char *value, gpointer field)
{
    return g_ascii_string_to_unsigned(value, 10, 0, G_MAXINT64, field, NULL);
}

static gboolean parse_kinds(const char *value, gpointer field)
{
    g_auto(GStrv) words = g_strsplit(value, ";", -1);
    guint kinds = 0;

    for (guint i = 0; words[i]; i++) {
        MemoryKind kind;

        g_strstrip(words[i]);
        if (!*words[i])
            continue;
        if (!memory_kind_from_name(words[i], &kind))
            return FALSE;
        kinds |= 1u << kind;
    }
    *(guint *)field = kinds;
    return TRUE;
}

static gboolean parse_level(const char *value, gpointer field)
{
    return log_level_from_name(value, field);
}

static const struct {
    const char *group, *key;
    ParseValue parse;
    gsize offset;
    const char *expected;
} keys[] = {
    { "vmm", "socket", parse_path, G_STRUCT_OFFSET(Config, vmm_socket), "an absolute path" },
    { "vmm", "socket-group", parse_group, G_STRUCT_OFFSET(Config, vmm_group), "a group" },
    { "vmm", "max-connections", parse_connections, G_STRUCT_OFFSET(Config, max_connections),
      "a number from 1 to 4096" },
    { "vmm", "max-connections-per-cgroup", parse_connections,
      G_STRUCT_OFFSET(Config, max_connections_per_cgroup), "a number from 1 to 4096" },
    { "vmm", "max-connections-per-process", parse_connections,
      G_STRUCT_OFFSET(Config, max_connections_per_process), "a number from 1 to 4096" },
    { "control", "socket", parse_path, G_STRUCT_OFFSET(Config, control_socket), "an absolute path" },
    { "control", "socket-group", parse_group, G_STRUCT_OFFSET(Config, control_group), "a group" },
    { "policy", "max-pages-per-guest", parse_pages, G_STRUCT_OFFSET(Config, policy.max_pages_per_guest),
      "a number from 0 to 2^63 - 1" },
    { "policy", "memory-kinds", parse_kinds, G_STRUCT_OFFSET(Config, policy.memory_kinds),
      "words out of anonymous;shmem;hugetlb;file" },
    { "log", "level", parse_level, G_STRUCT_OFFSET(Config, log_level), "error, warning, info or debug" },
};

/**
 * config_new() - the configuration without a file
 *
 * Return: to be freed with config_free().
 */
Config *config_new(void)
{
    Config *config = g_new0(Config, 1);

    config->vmm_socket = g_strdup(CONFIG_DEFAULT_VMM_SOCKET);
    config->control_socket = g_strdup(CONFIG_DEFAULT_CONTROL_SOCKET);
    config->max_connections = 256;
    config->max_connections_per_cgroup = 64;
    config->max_connections_per_process = 4;
    config->policy = POLICY_DEFAULT;
    config->log_level = G_LOG_LEVEL_INFO;
    return config;
}

/**
 * config_free() - free a configuration
 * @config: the configuration, or NULL
 */
void config_free(Config *config)
{
    if (!config)
        return;
    g_free(config->vmm_socket);
    g_free(config->vmm_group);
    g_free(config->control_socket);
    g_free(config->control_group);
    g_free(config);
}

static int find_key(const char *group, const char *key)
{
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++)
        if (strcmp(keys[i].group, group) == 0 && strcmp(keys[i].key, key) == 0)
            return (int)i;
    return -1;
}

static gboolean load_key(Config *config, GKeyFile *key_file, const char *file, const char *group,
                         const char *key, GError **error)
{
    g_autofree char *value = g_key_file_get_string(key_file, group, key, NULL);
    int i = find_key(group, key);

    if (i < 0) {
        g_set_error(error, G_KEY_FILE_ERROR, G_KEY_FILE_ERROR_KEY_NOT_FOUND, "%s: [%s] %s: no such setting",
                    file, group, key);
        return FALSE;
    }
    if (value && keys[i].parse(g_strstrip(value), (char *)config + keys[i].offset))
        return TRUE;
    g_set_error(error, G_KEY_FILE_ERROR, G_KEY_FILE_ERROR_INVALID_VALUE, "%s: [%s] %s=%s: not %s", file,
                group, key, value ? value : "", keys[i].expected);
    return FALSE;
}

static gboolean load_group(Config *config, GKeyFile *key_file, const char *file, const char *group,
                           GError **error)
{
    g_auto(GStrv) names = g_key_file_get_keys(key_file, group, NULL, NULL);
    gboolean known = FALSE;

    for (guint i = 0; i < G_N_ELEMENTS(keys); i++)
        known |= strcmp(keys[i].group, group) == 0;
    if (!known) {
        g_set_error(error, G_KEY_FILE_ERROR, G_KEY_FILE_ERROR_GROUP_NOT_FOUND,
                    "%s: [%s]: no such group of settings", file, group);
        return FALSE;
    }
    for (guint i = 0; names && names[i]; i++)
        if (!load_key(config, key_file, file, group, names[i], error))
            return FALSE;
    return TRUE;
}

/**
 * config_load() - read a configuration file
 * @file: its path
 * @error: G_FILE_ERROR if it cannot be read (G_FILE_ERROR_NOENT: there is none), else
 *         G_KEY_FILE_ERROR; the message names the file
 *
 * Return: a new configuration, or NULL.
 */
Config *config_load(const char *file, GError **error)
{
    g_autoptr(GKeyFile) key_file = g_key_file_new();
    g_autoptr(Config) config = config_new();
    g_auto(GStrv) groups = NULL;

    if (!g_key_file_load_from_file(key_file, file, G_KEY_FILE_NONE, error)) {
        g_prefix_error(error, "%s: ", file);
        return NULL;
    }
    groups = g_key_file_get_groups(key_file, NULL);
    for (guint i = 0; groups[i]; i++)
        if (!load_group(config, key_file, file, groups[i], error))
            return NULL;
    return g_steal_pointer(&config);
}
