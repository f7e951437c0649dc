/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hwpoisonctl: entry point
 *
 * hwpoisonctl [--socket PATH] [--json] status | list | show GUEST
 *
 * Results go to stdout, as a table or as one JSON object; errors to stderr. Exit status: 0 done, 1 the
 * agent could not be asked or refused, 2 wrong usage.
 */
#include <gio/gio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "control-client.h"
#include "report.h"
#include "util/text.h"

typedef gboolean (*Command)(ControlClient *client, const char *guest, GString *out, GError **error);

static char *arg_socket;
static gboolean arg_json;
static gboolean arg_version;

static const GOptionEntry options[] = {
    { "socket", 's', 0, G_OPTION_ARG_FILENAME, &arg_socket, "Control socket of the agent", "PATH" },
    { "json", 'j', 0, G_OPTION_ARG_NONE, &arg_json, "Print one JSON object", NULL },
    { "version", 0, 0, G_OPTION_ARG_NONE, &arg_version, "Print the version and exit", NULL },
    G_OPTION_ENTRY_NULL,
};

static void print_json(GString *out, JsonObject *object)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    g_autofree char *text = NULL, *safe = NULL;

    json_node_set_object(node, object);
    text = json_to_string(node, TRUE);
    safe = text_json_for_terminal(text);
    g_string_append_printf(out, "%s\n", safe);
}

static gboolean run_status(ControlClient *client, const char *guest, GString *out, GError **error)
{
    g_autoptr(JsonNode) answer = control_client_call(client, "status", NULL, error);
    JsonObject *status;

    if (!answer)
        return FALSE;
    status = json_node_get_object(answer);
    if (!arg_json) {
        report_status(out, status);
        return TRUE;
    }
    json_object_remove_member(status, "type");
    json_object_remove_member(status, "id");
    print_json(out, status);
    return TRUE;
}

static gboolean run_list(ControlClient *client, const char *guest, GString *out, GError **error)
{
    g_autoptr(JsonArray) guests = control_client_call_list(client, "list", NULL, error);
    g_autoptr(JsonObject) object = json_object_new();

    if (!guests)
        return FALSE;
    if (!arg_json) {
        report_list(out, guests);
        return TRUE;
    }
    json_object_set_array_member(object, "guests", g_steal_pointer(&guests));
    print_json(out, object);
    return TRUE;
}

/* Ranges come with the index of their block; a reader of JSON wants its name. */
static void name_blocks(JsonArray *ranges, JsonArray *blocks)
{
    for (guint i = 0; i < json_array_get_length(ranges); i++) {
        JsonObject *range = json_array_get_object_element(ranges, i);
        gint64 index = json_object_get_int_member_with_default(range, "block", -1);

        if (index < 0 || index >= (gint64)json_array_get_length(blocks))
            continue;
        json_object_set_string_member(range, "block",
                                      json_object_get_string_member_with_default(
                                          json_array_get_object_element(blocks, (guint)index), "name", ""));
    }
}

static void print_guest_json(GString *out, JsonObject *guest, JsonArray *blocks, JsonArray *ranges)
{
    name_blocks(ranges, blocks);
    json_object_set_array_member(guest, "layout", json_array_ref(blocks));
    json_object_set_array_member(guest, "poison_set", json_array_ref(ranges));
    print_json(out, guest);
}

static gboolean run_show(ControlClient *client, const char *guest, GString *out, GError **error)
{
    g_autoptr(JsonNode) answer = control_client_call(client, "show", guest, error);
    g_autoptr(JsonArray) blocks = NULL, ranges = NULL;
    JsonObject *shown;

    if (!answer)
        return FALSE;
    blocks = control_client_call_list(client, "blocks", guest, error);
    if (blocks)
        ranges = control_client_call_list(client, "ranges", guest, error);
    if (!ranges)
        return FALSE;
    shown = json_object_get_object_member(json_node_get_object(answer), "guest");
    if (arg_json)
        print_guest_json(out, shown, blocks, ranges);
    else
        report_guest(out, shown, blocks, ranges);
    return TRUE;
}

static const struct {
    const char *name;
    Command run;
    int arguments;
} commands[] = {
    { "status", run_status, 0 },
    { "list", run_list, 0 },
    { "show", run_show, 1 },
};

static Command find_command(int argc, char **argv)
{
    for (guint i = 0; argc > 1 && i < G_N_ELEMENTS(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0 && argc == 2 + commands[i].arguments)
            return commands[i].run;
    return NULL;
}

static int run(Command command, const char *guest)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) out = g_string_new(NULL);
    g_autoptr(ControlClient) client =
        control_client_new(arg_socket ? arg_socket : CONFIG_DEFAULT_CONTROL_SOCKET, &error);

    if (client && command(client, guest, out, &error)) {
        fputs(out->str, stdout);
        return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    g_autofree char *message = text_printable(error->message);
    fprintf(stderr, "hwpoisonctl: %s\n", message);
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new("status | list | show GUEST");
    g_autoptr(GError) error = NULL;
    Command command;
    int status;

    g_option_context_set_summary(context, "Asks hwpoisond about itself and the guests of this host.\n"
                                          "GUEST is a name, a UUID or the process id of the VMM, or pid:N.");
    g_option_context_add_main_entries(context, options, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fprintf(stderr, "hwpoisonctl: %s\n", error->message);
        return 2;
    }
    if (arg_version) {
        printf("hwpoisonctl %s\n", HWPOISOND_VERSION);
        return EXIT_SUCCESS;
    }
    command = find_command(argc, argv);
    if (!command) {
        fprintf(stderr, "usage: hwpoisonctl [--socket PATH] [--json] status | list | show GUEST\n");
        return 2;
    }
    status = run(command, argc > 2 ? argv[2] : NULL);
    g_free(arg_socket);
    return status;
}
