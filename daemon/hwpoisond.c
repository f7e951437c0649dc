/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hwpoisond: entry point
 *
 * Options, and what can be answered without a daemon; everything else is in daemon.c.
 */
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon.h"
#include "util/uffd.h"
#include "vmm-protocol.h"

static char *arg_config;
static char *arg_socket;
static char *arg_control_socket;
static gboolean arg_capabilities;
static gboolean arg_version;

static const GOptionEntry options[] = {
    { "config", 'c', 0, G_OPTION_ARG_FILENAME, &arg_config, "Configuration file", "FILE" },
    { "socket", 's', 0, G_OPTION_ARG_FILENAME, &arg_socket, "Socket for VMMs", "PATH" },
    { "control-socket", 0, 0, G_OPTION_ARG_FILENAME, &arg_control_socket, "Socket for hwpoisonctl", "PATH" },
    { "print-capabilities", 0, 0, G_OPTION_ARG_NONE, &arg_capabilities,
      "Print what this agent can do, as JSON, and exit", NULL },
    { "version", 0, 0, G_OPTION_ARG_NONE, &arg_version, "Print the version and exit", NULL },
    G_OPTION_ENTRY_NULL,
};

static void print_capabilities(void)
{
    printf("{\n"
           "  \"type\": \"hwpoisond\",\n"
           "  \"version\": \"%s\",\n"
           "  \"vmm_protocol\": %d,\n"
           "  \"features\": [%s\"poison-set\", \"split\", \"memory-anonymous\", \"memory-shmem\", "
           "\"memory-hugetlb\"]\n"
           "}\n",
           HWPOISOND_VERSION, VMM_PROTOCOL_VERSION, uffd_kernel_can_poison() ? "\"poison\", " : "");
}

static gboolean parse_options(int argc, char **argv, GError **error)
{
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);

    g_option_context_set_summary(context, "Host agent that carries poisoned memory of guests.");
    g_option_context_add_main_entries(context, options, NULL);
    if (!g_option_context_parse(context, &argc, &argv, error))
        return FALSE;
    if (argc > 1) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, "unexpected argument '%s'", argv[1]);
        return FALSE;
    }
    return TRUE;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    int status;

    if (!parse_options(argc, argv, &error)) {
        fprintf(stderr, "hwpoisond: %s\n", error->message);
        return 2;
    }
    if (arg_version)
        printf("hwpoisond %s\n", HWPOISOND_VERSION);
    else if (arg_capabilities)
        print_capabilities();
    if (arg_version || arg_capabilities)
        return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    status = daemon_run(arg_config, arg_socket, arg_control_socket);
    g_free(arg_config);
    g_free(arg_socket);
    g_free(arg_control_socket);
    return status;
}
