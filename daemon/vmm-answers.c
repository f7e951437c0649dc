/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Answers of the VMM protocol
 *
 * The common answers hold numbers and words of our own only, so they are printed straight away; an
 * error message can hold the VMM's own text and goes through json-glib. All of these are pure and
 * safe in any thread.
 */
#include <string.h>

#include "ranges.h"
#include "util/proto-error.h"
#include "vmm-protocol.h"

/**
 * vmm_answer_hello() - the answer to hello
 * @id: of the request
 * @can_poison: does this kernel have UFFDIO_POISON?
 * @max_pages: most pages that policy allows a guest
 *
 * Return: body of a frame.
 */
char *vmm_answer_hello(gint64 id, gboolean can_poison, guint64 max_pages)
{
    return g_strdup_printf("{\"type\":\"hello\",\"id\":%" G_GINT64_FORMAT
                           ",\"version\":%d,\"agent\":\"hwpoisond\",\"agent_version\":\"%s\","
                           "\"features\":[%s\"poison-set\",\"split\"],\"max_ranges\":%u,"
                           "\"max_pages\":%" G_GUINT64_FORMAT "}",
                           id, VMM_PROTOCOL_VERSION, HWPOISOND_VERSION, can_poison ? "\"poison\"," : "",
                           RANGES_MAX, max_pages);
}

/**
 * vmm_answer_ok() - the answer to a request that has nothing to tell
 * @id: of the request
 *
 * Return: body of a frame.
 */
char *vmm_answer_ok(gint64 id)
{
    return g_strdup_printf("{\"type\":\"ok\",\"id\":%" G_GINT64_FORMAT "}", id);
}

/**
 * vmm_answer_error() - the answer to a request that is refused
 * @id: of the request, or 0
 * @error: why
 *
 * Return: body of a frame.
 */
char *vmm_answer_error(gint64 id, const GError *error)
{
    g_autoptr(JsonObject) object = json_object_new();
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);

    json_object_set_string_member(object, "type", "error");
    json_object_set_int_member(object, "id", id);
    json_object_set_string_member(object, "code", proto_error_code(proto_error_of(error)));
    json_object_set_string_member(object, "message", error->message);
    json_node_set_object(node, object);
    return json_to_string(node, FALSE);
}

static void append_failure(GString *out, const VmmFailure *failure)
{
    const char *name = strerrorname_np(failure->errnum);

    g_string_append_printf(out,
                           "%s{\"index\":%u,\"errno\":%d,\"error\":\"%s\",\"done\":%" G_GUINT64_FORMAT "}",
                           out->str[out->len - 1] == '[' ? "" : ",", failure->index, failure->errnum,
                           name ? name : "unknown", failure->done);
}

/**
 * vmm_answer_poisoned() - the answer to a poison request that was carried out
 * @id: of the request
 * @poisoned: what came of it
 *
 * Return: body of a frame.
 */
char *vmm_answer_poisoned(gint64 id, const VmmPoisoned *poisoned)
{
    GString *out = g_string_new(NULL);

    g_string_append_printf(out,
                           "{\"type\":\"poisoned\",\"id\":%" G_GINT64_FORMAT
                           ",\"ranges\":%u,\"failed_count\":%u,\"failed\":[",
                           id, poisoned->ranges, poisoned->failed_count);
    for (guint i = 0; i < MIN(poisoned->failed_count, VMM_MAX_FAILURES); i++)
        append_failure(out, &poisoned->failed[i]);
    g_string_append(out, "]}");
    return g_string_free(out, FALSE);
}
