/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Answers of the control protocol
 *
 * docs/control-protocol.md lists them. Guests, blocks and ranges can be more than fit a frame, so
 * lists come in pages: the request says from which index on, the answer has "next" if there is more.
 * Page sizes are such that a page of the longest possible names, every byte of them escaped to six,
 * stays below FRAME_MAX_BODY. Ranges name their block by its index in the layout, for the same
 * reason.
 */
#include <string.h>
#include <unistd.h>

#include "control-server.h"
#include "util/envelope.h"
#include "util/json-member.h"
#include "util/proto-error.h"

#define CONTROL_MAX_WORDS 64u /* a request has four members at most */
#define GUESTS_PER_PAGE 64u
#define BLOCKS_PER_PAGE 256u
#define RANGES_PER_PAGE 2048u

typedef gboolean (*Answer)(const ControlView *view, JsonObject *request, JsonBuilder *b, GError **error);

static void add_int(JsonBuilder *b, const char *name, guint64 value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, (gint64)MIN(value, (guint64)G_MAXINT64));
}

static void add_string(JsonBuilder *b, const char *name, const char *value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_string_value(b, value);
}

static void add_bool(JsonBuilder *b, const char *name, gboolean value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_boolean_value(b, value);
}

static void begin_array(JsonBuilder *b, const char *name)
{
    json_builder_set_member_name(b, name);
    json_builder_begin_array(b);
}

static void add_policy(JsonBuilder *b, const Policy *policy)
{
    json_builder_set_member_name(b, "policy");
    json_builder_begin_object(b);
    add_int(b, "max_pages_per_guest", policy->max_pages_per_guest);
    begin_array(b, "memory_kinds");
    for (guint i = 0; i < MEMORY_KIND_COUNT_; i++)
        if (policy->memory_kinds & 1u << i)
            json_builder_add_string_value(b, memory_kind_name((MemoryKind)i));
    json_builder_end_array(b);
    json_builder_end_object(b);
}

static gboolean answer_status(const ControlView *view, JsonObject *request, JsonBuilder *b, GError **error)
{
    add_string(b, "agent", "hwpoisond");
    add_string(b, "agent_version", HWPOISOND_VERSION);
    add_int(b, "pid", (guint64)getpid());
    add_int(b, "since_us", (guint64)view->inventory->since_us);
    add_string(b, "vmm_socket", view->vmm_socket);
    add_bool(b, "kernel_can_poison", vmm_server_can_poison(view->vmm_server));
    add_int(b, "connections", vmm_server_connections(view->vmm_server));
    add_int(b, "guests", view->inventory->guests->len);
    add_int(b, "pages_poisoned", view->inventory->pages_poisoned);
    add_int(b, "requests", view->inventory->requests);
    add_int(b, "refused", view->inventory->refused);
    add_policy(b, &view->policy);
    return TRUE;
}

static void add_guest(JsonBuilder *b, const Guest *guest)
{
    add_string(b, "name", guest->name);
    add_string(b, "uuid", guest->uuid);
    add_int(b, "pid", (guint64)guest->peer.pid);
    add_int(b, "uid", guest->peer.uid);
    add_string(b, "vmm", guest->vmm);
    add_string(b, "vmm_version", guest->vmm_version);
    add_string(b, "state", guest_state_name(guest->state));
    add_int(b, "since_us", (guint64)guest->since_us);
    add_int(b, "blocks", guest->layout ? layout_count(guest->layout) : 0);
    add_int(b, "set_ranges", guest->set->len);
    add_int(b, "set_pages", guest->set_pages);
    add_int(b, "pages_poisoned", guest->pages_poisoned);
    add_int(b, "pages_failed", guest->pages_failed);
    add_int(b, "requests", guest->requests);
    add_int(b, "refused", guest->refused);
    if (guest->last_error)
        add_string(b, "last_error", guest->last_error);
}

/* The page of a list that a request asks for; also writes "next". */
static gboolean page_of(JsonObject *request, guint length, guint per_page, JsonBuilder *b, guint *ret_from,
                        guint *ret_to, GError **error)
{
    gint64 from = 0;

    if (json_object_has_member(request, "from") &&
        !member_int(request, "", "from", 0, G_MAXINT64, &from, error))
        return FALSE;
    *ret_from = (guint)MIN((guint64)from, length);
    *ret_to = MIN(length, *ret_from + per_page);
    if (*ret_to < length)
        add_int(b, "next", *ret_to);
    return TRUE;
}

static gboolean answer_list(const ControlView *view, JsonObject *request, JsonBuilder *b, GError **error)
{
    guint from, to;

    if (!page_of(request, view->inventory->guests->len, GUESTS_PER_PAGE, b, &from, &to, error))
        return FALSE;
    begin_array(b, "guests");
    for (guint i = from; i < to; i++) {
        json_builder_begin_object(b);
        add_guest(b, inventory_guest(view->inventory, i));
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    return TRUE;
}

static const Guest *guest_of(const ControlView *view, JsonObject *request, GError **error)
{
    const char *key;

    if (!member_string(request, "", "guest", 1, GUEST_MAX_NAME, &key, error))
        return NULL;
    return inventory_find(view->inventory, key, error);
}

static gboolean answer_show(const ControlView *view, JsonObject *request, JsonBuilder *b, GError **error)
{
    const Guest *guest = guest_of(view, request, error);

    if (!guest)
        return FALSE;
    json_builder_set_member_name(b, "guest");
    json_builder_begin_object(b);
    add_guest(b, guest);
    json_builder_end_object(b);
    return TRUE;
}

static void add_block(JsonBuilder *b, const RamBlock *block)
{
    json_builder_begin_object(b);
    add_string(b, "name", block->name);
    add_int(b, "host_virt_addr", block->address);
    add_int(b, "size", block->size);
    add_int(b, "page_size", block->page_size);
    add_string(b, "kind", memory_kind_name(block->kind));
    add_bool(b, "shared", block->shared);
    json_builder_end_object(b);
}

static gboolean answer_blocks(const ControlView *view, JsonObject *request, JsonBuilder *b, GError **error)
{
    const Guest *guest = guest_of(view, request, error);
    guint from, to;

    if (!guest || !page_of(request, guest->layout ? layout_count(guest->layout) : 0, BLOCKS_PER_PAGE, b,
                           &from, &to, error))
        return FALSE;
    begin_array(b, "blocks");
    for (guint i = from; i < to; i++)
        add_block(b, layout_block(guest->layout, i));
    json_builder_end_array(b);
    return TRUE;
}

static void add_range(JsonBuilder *b, const PoisonRange *range)
{
    json_builder_begin_object(b);
    add_int(b, "block", range->block);
    add_int(b, "offset", range->offset);
    add_int(b, "length", range->length);
    if (range->gpa != POISON_NO_GPA)
        add_int(b, "guest_phys_addr", range->gpa);
    add_string(b, "origin", poison_origin_name((PoisonOrigin)range->origin));
    json_builder_end_object(b);
}

static gboolean answer_ranges(const ControlView *view, JsonObject *request, JsonBuilder *b, GError **error)
{
    const Guest *guest = guest_of(view, request, error);
    guint from, to;

    if (!guest || !page_of(request, guest->set->len, RANGES_PER_PAGE, b, &from, &to, error))
        return FALSE;
    begin_array(b, "ranges");
    for (guint i = from; i < to; i++)
        add_range(b, poison_set_range(guest->set, i));
    json_builder_end_array(b);
    return TRUE;
}

static const struct {
    const char *type;
    Answer answer;
} answers[] = {
    { "status", answer_status }, { "list", answer_list },     { "show", answer_show },
    { "blocks", answer_blocks }, { "ranges", answer_ranges },
};

static Answer find_answer(const char *type, GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS(answers); i++)
        if (strcmp(answers[i].type, type) == 0)
            return answers[i].answer;
    g_set_error(error, PROTO_ERROR, PROTO_ERROR_UNKNOWN_TYPE, "no request has type '%s'", type);
    return NULL;
}

static char *finish(JsonBuilder *b)
{
    g_autoptr(JsonNode) node = NULL;

    json_builder_end_object(b);
    node = json_builder_get_root(b);
    return json_to_string(node, FALSE);
}

static char *answer_error(gint64 id, const GError *error)
{
    g_autoptr(JsonBuilder) b = json_builder_new_immutable();

    json_builder_begin_object(b);
    add_string(b, "type", "error");
    add_int(b, "id", (guint64)id);
    add_string(b, "code", proto_error_code(proto_error_of(error)));
    add_string(b, "message", error->message);
    return finish(b);
}

static char *answer_request(const ControlView *view, JsonObject *request, const char *type, gint64 id,
                            GError **error)
{
    g_autoptr(JsonBuilder) b = json_builder_new_immutable();
    Answer answer = find_answer(type, error);

    if (!answer)
        return NULL;
    json_builder_begin_object(b);
    add_string(b, "type", type);
    add_int(b, "id", (guint64)id);
    return answer(view, request, b, error) ? finish(b) : NULL;
}

/**
 * control_answer() - answer one message
 * @view: what to answer from
 * @body: the message, NUL-terminated at @size
 * @size: its size
 * @ret_fatal: set if the connection is to end after the answer
 *
 * Return: the answer, in any case.
 */
char *control_answer(const ControlView *view, const char *body, gsize size, gboolean *ret_fatal)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) root = NULL;
    char *answer = NULL;
    const char *type;
    gint64 id = 0;

    root = envelope_parse(body, size, CONTROL_MAX_WORDS, &id, &type, &error);
    *ret_fatal = root == NULL;
    if (root)
        answer = answer_request(view, json_node_get_object(root), type, id, &error);
    return answer ? answer : answer_error(id, error);
}
