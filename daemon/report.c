/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The agent's answers as tables for a terminal
 *
 * Every string of an answer may be a VMM's own and goes through text_printable(). Missing members
 * show as empty or 0, so that client and agent may be of different versions.
 */
#include "report.h"

#include <string.h>

#include "util/text.h"

static char *string_of(JsonObject *object, const char *name)
{
    return text_printable(json_object_get_string_member_with_default(object, name, ""));
}

static gint64 int_of(JsonObject *object, const char *name)
{
    return json_object_get_int_member_with_default(object, name, 0);
}

static char *time_of(JsonObject *object, const char *name)
{
    g_autoptr(GDateTime) utc = g_date_time_new_from_unix_utc(int_of(object, name) / G_USEC_PER_SEC);
    g_autoptr(GDateTime) local = utc ? g_date_time_to_local(utc) : NULL;

    return local ? g_date_time_format(local, "%Y-%m-%d %H:%M:%S") : g_strdup("");
}

static void add_line(GString *out, const char *label, const char *value)
{
    g_string_append_printf(out, "%-16s %s\n", label, value);
}

static void add_count(GString *out, const char *label, JsonObject *object, const char *name)
{
    g_string_append_printf(out, "%-16s %" G_GINT64_FORMAT "\n", label, int_of(object, name));
}

static void add_string_line(GString *out, const char *label, JsonObject *object, const char *name)
{
    g_autofree char *value = string_of(object, name);

    add_line(out, label, *value ? value : "-");
}

static void add_time(GString *out, const char *label, JsonObject *object, const char *name)
{
    g_autofree char *value = time_of(object, name);

    add_line(out, label, value);
}

static void add_policy(GString *out, JsonObject *policy)
{
    JsonArray *kinds = json_object_has_member(policy, "memory_kinds")
                           ? json_object_get_array_member(policy, "memory_kinds")
                           : NULL;
    g_autoptr(GString) words = g_string_new(NULL);

    for (guint i = 0; kinds && i < json_array_get_length(kinds); i++)
        g_string_append_printf(words, "%s%s", i ? ", " : "", json_array_get_string_element(kinds, i));
    add_count(out, "pages per guest", policy, "max_pages_per_guest");
    add_line(out, "memory kinds", words->str);
}

/**
 * report_status() - the agent itself
 * @out: where to append the text
 * @status: answer to "status"
 */
void report_status(GString *out, JsonObject *status)
{
    g_autofree char *version = string_of(status, "agent_version");
    gboolean can = json_object_get_boolean_member_with_default(status, "kernel_can_poison", FALSE);

    g_string_append_printf(out, "%-16s hwpoisond %s, process %" G_GINT64_FORMAT "\n", "agent", version,
                           int_of(status, "pid"));
    add_time(out, "running since", status, "since_us");
    add_string_line(out, "VMM socket", status, "vmm_socket");
    add_line(out, "kernel", can ? "has UFFDIO_POISON" : "has no UFFDIO_POISON");
    add_count(out, "guests", status, "guests");
    add_count(out, "connections", status, "connections");
    add_count(out, "pages poisoned", status, "pages_poisoned");
    add_count(out, "requests", status, "requests");
    add_count(out, "refused", status, "refused");
    if (json_object_has_member(status, "policy"))
        add_policy(out, json_object_get_object_member(status, "policy"));
}

/**
 * report_list() - all guests, a line each
 * @out: where to append the text
 * @guests: answer to "list"
 */
void report_list(GString *out, JsonArray *guests)
{
    g_string_append_printf(out, "%-24s %8s %-10s %12s %12s %8s %s\n", "NAME", "PID", "STATE", "POISON-SET",
                           "POISONED", "REFUSED", "UUID");
    for (guint i = 0; i < json_array_get_length(guests); i++) {
        JsonObject *guest = json_array_get_object_element(guests, i);
        g_autofree char *name = string_of(guest, "name");
        g_autofree char *state = string_of(guest, "state");
        g_autofree char *uuid = string_of(guest, "uuid");

        g_string_append_printf(out,
                               "%-24s %8" G_GINT64_FORMAT " %-10s %12" G_GINT64_FORMAT " %12" G_GINT64_FORMAT
                               " %8" G_GINT64_FORMAT " %s\n",
                               *name ? name : "-", int_of(guest, "pid"), state, int_of(guest, "set_pages"),
                               int_of(guest, "pages_poisoned"), int_of(guest, "refused"), *uuid ? uuid : "-");
    }
}

static void add_identity(GString *out, JsonObject *guest)
{
    g_autofree char *vmm = string_of(guest, "vmm");
    g_autofree char *version = string_of(guest, "vmm_version");

    add_string_line(out, "name", guest, "name");
    add_string_line(out, "uuid", guest, "uuid");
    g_string_append_printf(out, "%-16s %" G_GINT64_FORMAT " (user id %" G_GINT64_FORMAT ")\n", "process",
                           int_of(guest, "pid"), int_of(guest, "uid"));
    g_string_append_printf(out, "%-16s %s %s\n", "VMM", vmm, version);
    add_string_line(out, "state", guest, "state");
    add_time(out, "connected since", guest, "since_us");
    add_count(out, "pages in set", guest, "set_pages");
    add_count(out, "pages poisoned", guest, "pages_poisoned");
    add_count(out, "pages failed", guest, "pages_failed");
    add_count(out, "requests", guest, "requests");
    add_count(out, "refused", guest, "refused");
    add_string_line(out, "last error", guest, "last_error");
}

static void add_blocks(GString *out, JsonArray *blocks)
{
    g_string_append_printf(out, "\n%-24s %18s %18s %10s %-9s %s\n", "BLOCK", "HOST-VIRT-ADDR", "SIZE",
                           "PAGE-SIZE", "KIND", "SHARED");
    for (guint i = 0; i < json_array_get_length(blocks); i++) {
        JsonObject *block = json_array_get_object_element(blocks, i);
        g_autofree char *name = string_of(block, "name");
        g_autofree char *kind = string_of(block, "kind");
        gboolean shared = json_object_get_boolean_member_with_default(block, "shared", FALSE);

        g_string_append_printf(out,
                               "%-24s 0x%016" G_GINT64_MODIFIER "x 0x%016" G_GINT64_MODIFIER
                               "x %10" G_GINT64_FORMAT " %-9s %s\n",
                               name, int_of(block, "host_virt_addr"), int_of(block, "size"),
                               int_of(block, "page_size"), kind, shared ? "yes" : "no");
    }
}

static char *block_name(JsonArray *blocks, gint64 index)
{
    if (index < 0 || index >= (gint64)json_array_get_length(blocks))
        return g_strdup("?");
    return string_of(json_array_get_object_element(blocks, (guint)index), "name");
}

static void add_range(GString *out, JsonObject *range, JsonArray *blocks)
{
    g_autofree char *block = block_name(blocks, int_of(range, "block"));
    g_autofree char *origin = string_of(range, "origin");
    g_autofree char *gpa = g_strdup("-");

    if (json_object_has_member(range, "guest_phys_addr")) {
        g_free(gpa);
        gpa = g_strdup_printf("0x%016" G_GINT64_MODIFIER "x", int_of(range, "guest_phys_addr"));
    }
    g_string_append_printf(out, "%-24s %18s 0x%016" G_GINT64_MODIFIER "x 0x%-10" G_GINT64_MODIFIER "x %s\n",
                           block, gpa, int_of(range, "offset"), int_of(range, "length"), origin);
}

/**
 * report_guest() - all about one guest
 * @out: where to append the text
 * @guest: member "guest" of the answer to "show"
 * @blocks: answer to "blocks"
 * @ranges: answer to "ranges"
 */
void report_guest(GString *out, JsonObject *guest, JsonArray *blocks, JsonArray *ranges)
{
    add_identity(out, guest);
    if (json_array_get_length(blocks) > 0)
        add_blocks(out, blocks);
    if (json_array_get_length(ranges) == 0)
        return;
    g_string_append_printf(out, "\n%-24s %18s %18s %-12s %s\n", "POISON IN BLOCK", "GPA", "OFFSET", "LENGTH",
                           "ORIGIN");
    for (guint i = 0; i < json_array_get_length(ranges); i++)
        add_range(out, json_array_get_object_element(ranges, i), blocks);
}
