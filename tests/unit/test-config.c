/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The configuration file: every key, and messages that say what is wrong where
 */
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

static Config *load(const char *text, GError **error)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("hwpoisond-XXXXXX.conf", &path, NULL);
    Config *config;

    g_assert_no_errno(fd);
    g_assert_cmpint(write(fd, text, strlen(text)), ==, (ssize_t)strlen(text));
    close(fd);
    config = config_load(path, error);
    g_unlink(path);
    return config;
}

static void test_all_keys(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Config) c = load("# comment\n[vmm]\nsocket=/run/a\nsocket-group = kvm \nmax-connections=7\n"
                               "max-connections-per-cgroup=3\nmax-connections-per-process=2\n[control]\nsocket=/run/b\nsocket-group=adm\n"
                               "[policy]\nmax-pages-per-guest=12\nmemory-kinds=hugetlb; file;\n[log]\nlevel=debug\n",
                               &error);

    g_assert_no_error(error);
    g_assert_cmpstr(c->vmm_socket, ==, "/run/a");
    g_assert_cmpstr(c->vmm_group, ==, "kvm");
    g_assert_cmpuint(c->max_connections, ==, 7);
    g_assert_cmpuint(c->max_connections_per_cgroup, ==, 3);
    g_assert_cmpuint(c->max_connections_per_process, ==, 2);
    g_assert_cmpstr(c->control_socket, ==, "/run/b");
    g_assert_cmpstr(c->control_group, ==, "adm");
    g_assert_cmpuint(c->policy.max_pages_per_guest, ==, 12);
    g_assert_cmpuint(c->policy.memory_kinds, ==, 1u << MEMORY_HUGETLB | 1u << MEMORY_FILE);
    g_assert_cmpint(c->log_level, ==, G_LOG_LEVEL_DEBUG);
}

static void test_defaults(void)
{
    g_autoptr(Config) c = load("", NULL);

    g_assert_cmpstr(c->vmm_socket, ==, "/run/hwpoisond/vmm.sock");
    g_assert_cmpstr(c->control_socket, ==, "/run/hwpoisond/control.sock");
    g_assert_null(c->vmm_group);
    g_assert_cmpuint(c->policy.max_pages_per_guest, ==, 1048576);
    g_assert_cmpuint(c->policy.memory_kinds, ==, 1u << MEMORY_ANONYMOUS | 1u << MEMORY_SHMEM | 1u << MEMORY_HUGETLB);
}

static const struct {
    const char *text, *message;
} bad[] = {
    { "[vmm]\nsocket=relative\n", "[vmm] socket=relative: not an absolute path" },
    { "[vmm]\nsocket=\n", "[vmm] socket=: not an absolute path" },
    { "[vmm]\nmax-connections=0\n", "[vmm] max-connections=0: not a number from 1 to 4096" },
    { "[vmm]\nmax-connections=4097\n", "[vmm] max-connections=4097: not a number" },
    { "[vmm]\nmax-connections=-1\n", "[vmm] max-connections=-1: not a number" },
    { "[vmm]\nmax-connections=7 \n[vmm]\nmax-connections-per-process=x\n", "per-process=x: not a number" },
    { "[policy]\nmax-pages-per-guest=1e3\n", "[policy] max-pages-per-guest=1e3: not a number" },
    { "[policy]\nmax-pages-per-guest=18446744073709551616\n", "not a number" },
    { "[policy]\nmemory-kinds=anonymous;magic\n", "[policy] memory-kinds=anonymous;magic: not words out of" },
    { "[log]\nlevel=loud\n", "[log] level=loud: not error, warning, info or debug" },
    { "[policy]\nmax-page-per-guest=1\n", "[policy] max-page-per-guest: no such setting" },
    { "[polity]\nmax-pages-per-guest=1\n", "[polity]: no such group of settings" },
    { "[control]\nmax-connections=3\n", "[control] max-connections: no such setting" },
    { "socket=/run/x\n", "group" },
    { "[vmm\n", "" },
};

static void test_bad(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(load(bad[i].text, &error));
        if (!strstr(error->message, bad[i].message))
            g_test_message("%s", error->message);
        g_assert_nonnull(strstr(error->message, bad[i].message));
        g_assert_nonnull(strstr(error->message, ".conf: ")); /* the file */
    }
}

static void test_missing(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(config_load("/nonexistent/hwpoisond.conf", &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT);
    g_assert_nonnull(strstr(error->message, "/nonexistent/hwpoisond.conf: "));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/config/all-keys", test_all_keys);
    g_test_add_func("/config/defaults", test_defaults);
    g_test_add_func("/config/bad", test_bad);
    g_test_add_func("/config/missing", test_missing);
    return g_test_run();
}
