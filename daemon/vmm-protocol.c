/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages of the VMM protocol
 *
 * From the body of a frame to checked values, and from values to the body of an answer; see
 * docs/vmm-protocol.md. Parsing has two steps, because their errors end differently: the envelope
 * (one JSON object with type and id) must be sound for the connection to go on; what is inside is
 * the request's own affair. What depends on the connection (order of requests, descriptors, the
 * layout, policy) is checked in vmm-requests.c.
 *
 * A UUID of all zeros is how a VMM without one may print it; it is no identity and counts as "".
 */
#include "vmm-protocol.h"

#include <string.h>

#include "guest.h"
#include "ranges.h"
#include "util/envelope.h"
#include "util/json-member.h"
#include "util/proto-error.h"

#define MAX_INT G_MAXINT64

static const char *const type_names[] = {
    [VMM_HELLO] = "hello",   [VMM_LAYOUT] = "layout",         [VMM_POISON_BEGIN] = "poison-begin",
    [VMM_POISON] = "poison", [VMM_POISON_END] = "poison-end", [VMM_POISON_SET] = "poison-set",
};
G_STATIC_ASSERT(G_N_ELEMENTS(type_names) == VMM_TYPE_COUNT_);

static JsonObject *object_of(const VmmRequest *request)
{
    return json_node_get_object(request->root);
}

static gboolean parse_type(VmmRequest *request, const char *name, GError **error)
{
    for (guint i = 0; i < VMM_TYPE_COUNT_; i++) {
        if (strcmp(type_names[i], name) == 0) {
            request->type = (VmmType)i;
            return TRUE;
        }
    }
    g_set_error(error, PROTO_ERROR, PROTO_ERROR_UNKNOWN_TYPE, "no request has type '%s'", name);
    return FALSE;
}

/**
 * vmm_request_parse() - parse the envelope of a request
 * @request: zeroed; to be freed with vmm_request_clear(), also after an error
 * @body: body of a frame, NUL-terminated at @size
 * @size: its size
 * @max_words: as for json_strict_parse()
 * @error: PROTO_ERROR_BAD_JSON, which ends the connection; PROTO_ERROR_UNKNOWN_TYPE, which does not
 */
gboolean vmm_request_parse(VmmRequest *request, const char *body, gsize size, guint max_words, GError **error)
{
    const char *type;

    request->root = envelope_parse(body, size, max_words, &request->id, &type, error);
    return request->root && parse_type(request, type, error);
}

/**
 * vmm_request_clear() - free what a request holds
 * @request: the request
 */
void vmm_request_clear(VmmRequest *request)
{
    g_clear_pointer(&request->root, json_node_unref);
}

static gboolean check_version(gint64 version, GError **error)
{
    if (version == VMM_PROTOCOL_VERSION)
        return TRUE;
    g_set_error(error, PROTO_ERROR, PROTO_ERROR_VERSION,
                "hello: version %" G_GINT64_FORMAT " is not spoken here, only %d", version,
                VMM_PROTOCOL_VERSION);
    return FALSE;
}

static gboolean check_uuid(const char **uuid, GError **error)
{
    if (**uuid && !g_uuid_string_is_valid(*uuid)) {
        g_set_error(error, PROTO_ERROR, PROTO_ERROR_BAD_MEMBER, "hello: uuid: not a UUID");
        return FALSE;
    }
    if (strspn(*uuid, "0-") == strlen(*uuid))
        *uuid = "";
    return TRUE;
}

/**
 * vmm_parse_hello() - parse a hello
 * @request: a request of this type
 * @ret_hello: its members, which belong to @request
 * @error: PROTO_ERROR_BAD_MEMBER or PROTO_ERROR_VERSION
 */
gboolean vmm_parse_hello(const VmmRequest *request, VmmHello *ret_hello, GError **error)
{
    JsonObject *o = object_of(request);
    VmmHello h;
    gint64 version;

    if (!member_int(o, "hello: ", "version", 0, MAX_INT, &version, error) || !check_version(version, error) ||
        !member_string(o, "hello: ", "vmm", 1, GUEST_MAX_VMM, &h.vmm, error) ||
        !member_string(o, "hello: ", "vmm_version", 1, GUEST_MAX_VMM, &h.vmm_version, error) ||
        !member_string(o, "hello: ", "name", 0, GUEST_MAX_NAME, &h.name, error) ||
        !member_string(o, "hello: ", "uuid", 0, GUEST_MAX_NAME, &h.uuid, error) ||
        !check_uuid(&h.uuid, error))
        return FALSE;
    *ret_hello = h;
    return TRUE;
}

static gboolean parse_kind(JsonObject *object, const char *where, MemoryKind *ret_kind, GError **error)
{
    const char *name;

    if (!member_string(object, where, "kind", 1, LAYOUT_MAX_NAME, &name, error))
        return FALSE;
    if (memory_kind_from_name(name, ret_kind))
        return TRUE;
    g_set_error(error, PROTO_ERROR, PROTO_ERROR_BAD_MEMBER, "%skind: no kind of memory", where);
    return FALSE;
}

static gboolean parse_block(JsonObject *o, guint index, Layout *layout, GError **error)
{
    g_autofree char *where = g_strdup_printf("layout: blocks[%u].", index);
    gint64 address, size, page_size;
    RamBlock block = { NULL };
    const char *name;

    if (!member_string(o, where, "name", 1, LAYOUT_MAX_NAME, &name, error) ||
        !member_int(o, where, "host_virt_addr", 0, MAX_INT, &address, error) ||
        !member_int(o, where, "size", 0, MAX_INT, &size, error) ||
        !member_int(o, where, "page_size", 0, MAX_INT, &page_size, error) ||
        !parse_kind(o, where, &block.kind, error) || !member_bool(o, where, "shared", &block.shared, error))
        return FALSE;
    if (json_object_has_member(o, "split") && !member_bool(o, where, "split", &block.split, error))
        return FALSE;
    block.address = (guint64)address;
    block.size = (guint64)size;
    block.page_size = (guint64)page_size;
    return layout_add(layout, name, &block, error);
}

/**
 * vmm_parse_layout() - parse and check a layout
 * @request: a request of this type
 * @error: PROTO_ERROR_BAD_MEMBER or PROTO_ERROR_BAD_LAYOUT
 *
 * Return: a new layout, or NULL.
 */
Layout *vmm_parse_layout(const VmmRequest *request, GError **error)
{
    g_autoptr(Layout) layout = layout_new();
    JsonArray *blocks = member_array(object_of(request), "layout: ", "blocks", error);

    if (!blocks)
        return NULL;
    for (guint i = 0; i < json_array_get_length(blocks); i++) {
        JsonObject *block = element_object(blocks, i, "layout: blocks", error);

        if (!block || !parse_block(block, i, layout, error))
            return NULL;
    }
    return layout_check_disjoint(layout, error) ? g_steal_pointer(&layout) : NULL;
}

/**
 * vmm_parse_begin() - parse a poison-begin
 * @request: a request of this type
 * @ret_pages: how many pages the VMM expects to poison
 * @error: PROTO_ERROR_BAD_MEMBER
 */
gboolean vmm_parse_begin(const VmmRequest *request, guint64 *ret_pages, GError **error)
{
    gint64 pages;

    if (!member_int(object_of(request), "poison-begin: ", "pages", 0, MAX_INT, &pages, error))
        return FALSE;
    *ret_pages = (guint64)pages;
    return TRUE;
}

/**
 * vmm_parse_poison() - parse a poison request, without its memfd
 * @request: a request of this type
 * @ret_poison: its members, which belong to @request
 * @error: PROTO_ERROR_BAD_MEMBER or PROTO_ERROR_BAD_COUNT
 */
gboolean vmm_parse_poison(const VmmRequest *request, VmmPoison *ret_poison, GError **error)
{
    JsonObject *o = object_of(request);
    const char *block;
    gint64 count;

    if (!member_string(o, "poison: ", "block", 1, LAYOUT_MAX_NAME, &block, error) ||
        !member_int(o, "poison: ", "count", 0, MAX_INT, &count, error))
        return FALSE;
    if (count < 1 || count > RANGES_MAX) {
        g_set_error(error, PROTO_ERROR, PROTO_ERROR_BAD_COUNT,
                    "poison: count %" G_GINT64_FORMAT " is not from 1 to %u", count, RANGES_MAX);
        return FALSE;
    }
    *ret_poison = (VmmPoison){ .block = block, .count = (guint)count };
    return TRUE;
}

static char *join_names(JsonArray *names, GError **error)
{
    g_autoptr(GString) joined = g_string_new(NULL);

    if (json_array_get_length(names) > VMM_MAX_UNREACHED) {
        g_set_error(error, PROTO_ERROR, PROTO_ERROR_BAD_COUNT,
                    "poison-end: vhost_user_unreached: %u names, at most %u", json_array_get_length(names),
                    VMM_MAX_UNREACHED);
        return NULL;
    }
    for (guint i = 0; i < json_array_get_length(names); i++) {
        const char *name =
            element_string(names, i, "poison-end: vhost_user_unreached", LAYOUT_MAX_NAME, error);

        if (!name)
            return NULL;
        g_string_append_printf(joined, "%s'%s'", i ? ", " : "", name);
    }
    return g_string_free(g_steal_pointer(&joined), FALSE);
}

/**
 * vmm_parse_end() - parse a poison-end
 * @request: a request of this type
 * @ret_unreached: a new string with the vhost-user backends that it names; "" if there are none
 * @error: PROTO_ERROR_BAD_MEMBER or PROTO_ERROR_BAD_COUNT
 */
gboolean vmm_parse_end(const VmmRequest *request, char **ret_unreached, GError **error)
{
    JsonObject *o = object_of(request);
    JsonArray *names;

    if (!json_object_has_member(o, "vhost_user_unreached")) {
        *ret_unreached = g_strdup("");
        return TRUE;
    }
    names = member_array(o, "poison-end: ", "vhost_user_unreached", error);
    *ret_unreached = names ? join_names(names, error) : NULL;
    return *ret_unreached != NULL;
}

static gboolean parse_gpa(JsonObject *o, const char *where, guint64 *ret_gpa, GError **error)
{
    gint64 gpa;

    *ret_gpa = POISON_NO_GPA;
    if (!json_object_has_member(o, "guest_phys_addr"))
        return TRUE;
    if (!member_int(o, where, "guest_phys_addr", 0, MAX_INT, &gpa, error))
        return FALSE;
    *ret_gpa = (guint64)gpa;
    return TRUE;
}

static gboolean parse_origin(JsonObject *o, const char *where, guint8 *ret_origin, GError **error)
{
    PoisonOrigin origin;
    const char *name;

    if (!member_string(o, where, "origin", 1, LAYOUT_MAX_NAME, &name, error))
        return FALSE;
    if (!poison_origin_from_name(name, &origin)) {
        g_set_error(error, PROTO_ERROR, PROTO_ERROR_BAD_MEMBER, "%sorigin: no origin of poison", where);
        return FALSE;
    }
    *ret_origin = (guint8)origin;
    return TRUE;
}

static gboolean place_range(const Layout *layout, const char *block, guint index, PoisonRange *range,
                            GError **error)
{
    Range plain = { .offset = range->offset, .length = range->length };
    int found = layout_find(layout, block);

    if (found < 0) {
        g_set_error(error, PROTO_ERROR, PROTO_ERROR_UNKNOWN_BLOCK,
                    "poison-set: range %u: no block '%s' in the layout", index, block);
        return FALSE;
    }
    range->block = (guint16)found;
    return range_check_one(&plain, index, layout_block(layout, (guint)found), LAYOUT_MIN_PAGE, "poison-set",
                           error);
}

static gboolean parse_set_range(JsonObject *o, guint index, const Layout *layout, PoisonRange *range,
                                GError **error)
{
    g_autofree char *where = g_strdup_printf("poison-set: ranges[%u].", index);
    gint64 offset, length;
    const char *block;

    if (!member_string(o, where, "block", 1, LAYOUT_MAX_NAME, &block, error) ||
        !member_int(o, where, "offset", 0, MAX_INT, &offset, error) ||
        !member_int(o, where, "length", 0, MAX_INT, &length, error) ||
        !parse_gpa(o, where, &range->gpa, error) || !parse_origin(o, where, &range->origin, error))
        return FALSE;
    range->offset = (guint64)offset;
    range->length = (guint64)length;
    return place_range(layout, block, index, range, error);
}

static JsonArray *set_ranges(const VmmRequest *request, GError **error)
{
    JsonArray *ranges = member_array(object_of(request), "poison-set: ", "ranges", error);

    if (!ranges || json_array_get_length(ranges) <= VMM_MAX_SET_RANGES)
        return ranges;
    g_set_error(error, PROTO_ERROR, PROTO_ERROR_BAD_COUNT, "poison-set: %u ranges, at most %u in a message",
                json_array_get_length(ranges), VMM_MAX_SET_RANGES);
    return NULL;
}

/**
 * vmm_parse_set() - parse and check a poison-set
 * @request: a request of this type
 * @layout: the layout of the guest, or NULL
 * @ret_replace: forget what was said before?
 * @error: PROTO_ERROR_BAD_MEMBER, _BAD_COUNT, _UNKNOWN_BLOCK or one of range_check_one()
 *
 * Return: a new array of PoisonRange, as they came, or NULL.
 */
GArray *vmm_parse_set(const VmmRequest *request, const Layout *layout, gboolean *ret_replace, GError **error)
{
    g_autoptr(GArray) out = poison_set_new();
    JsonArray *ranges;

    if (!member_bool(object_of(request), "poison-set: ", "replace", ret_replace, error))
        return NULL;
    ranges = set_ranges(request, error);
    if (!ranges)
        return NULL;
    for (guint i = 0; i < json_array_get_length(ranges); i++) {
        JsonObject *o = element_object(ranges, i, "poison-set: ranges", error);
        PoisonRange range = { 0 };

        if (!o || !parse_set_range(o, i, layout, &range, error))
            return NULL;
        g_array_append_val(out, range);
    }
    return g_steal_pointer(&out);
}
