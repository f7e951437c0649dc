/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VMM protocol: every member of every message, missing and wrong in each way
 *
 * Each message is taken apart: one good one, then variants with one member removed, or replaced by each of
 * the values in "wrong" that its type does not allow. All must be refused with the code of the protocol,
 * and a good message must still be good afterwards.
 */
#include <errno.h>
#include <string.h>

#include "ranges.h"
#include "util/json-strict.h"
#include "util/proto-error.h"
#include "vmm-protocol.h"

/* Parses a whole message; 0, or the code of the error plus 1. */
static int parse(const char *text)
{
    g_auto(VmmRequest) request = { NULL };
    g_autoptr(GError) error = NULL;
    g_autoptr(Layout) layout = layout_new();
    g_autoptr(Layout) parsed = NULL;
    g_autoptr(GArray) set = NULL;
    g_autofree char *unreached = NULL;
    const RamBlock ram = { .address = 1 << 20, .size = 1 << 20, .page_size = 4096 };
    const RamBlock huge = { .address = 2 << 20, .size = 2 << 20, .page_size = 2 << 20, .kind = MEMORY_HUGETLB };
    gboolean replace;
    guint64 pages;
    VmmHello hello;
    VmmPoison poison;

    g_assert_true(layout_add(layout, "ram", &ram, NULL));
    g_assert_true(layout_add(layout, "huge", &huge, NULL));
    if (!vmm_request_parse(&request, text, strlen(text), JSON_STRICT_MAX_WORDS, &error))
        return 1 + error->code;
    switch (request.type) {
    case VMM_HELLO:
        vmm_parse_hello(&request, &hello, &error);
        break;
    case VMM_LAYOUT:
        parsed = vmm_parse_layout(&request, &error);
        break;
    case VMM_POISON_BEGIN:
        vmm_parse_begin(&request, &pages, &error);
        break;
    case VMM_POISON:
        vmm_parse_poison(&request, &poison, &error);
        break;
    case VMM_POISON_END:
        vmm_parse_end(&request, &unreached, &error);
        break;
    case VMM_POISON_SET:
        set = vmm_parse_set(&request, layout, &replace, &error);
        break;
    default:
        break;
    }
    g_assert_true(!error || error->domain == PROTO_ERROR);
    return error ? 1 + error->code : 0;
}

static const char *const good[] = {
    "{\"type\":\"hello\",\"id\":1,\"version\":1,\"vmm\":\"qemu\",\"vmm_version\":\"10.0\",\"name\":\"vm\","
    "\"uuid\":\"0d2b3b1e-3bd0-4a3e-8a65-7d4c0d6c2f10\"}",
    "{\"type\":\"layout\",\"id\":1,\"blocks\":[{\"name\":\"ram\",\"host_virt_addr\":4096,\"size\":8192,"
    "\"page_size\":4096,\"kind\":\"anonymous\",\"shared\":false}]}",
    "{\"type\":\"poison-begin\",\"id\":1,\"pages\":1}",
    "{\"type\":\"poison\",\"id\":1,\"block\":\"ram\",\"count\":1}",
    "{\"type\":\"poison-end\",\"id\":1}",
    "{\"type\":\"poison-end\",\"id\":1,\"vhost_user_unreached\":[\"char0\",\"char1\"]}",
    "{\"type\":\"poison-set\",\"id\":1,\"replace\":true,\"ranges\":[{\"block\":\"ram\",\"offset\":4096,"
    "\"length\":4096,\"guest_phys_addr\":4096,\"origin\":\"host\"}]}",
};

/* Members that may be missing; the name of a block may not. */
static const char *const optional[] = { "name", "uuid", "guest_phys_addr", "vhost_user_unreached" };

static const char *const wrong[] = { "null", "[]", "[5]", "{}", "-1", "1.5", "18446744073709551615", "9223372036854775808",
                                     "\"\\u0001\"", "true", "\"\"", "7" };

static JsonObject *inner_object(JsonObject *o)
{
    const char *lists[] = { "blocks", "ranges" };

    for (guint i = 0; i < G_N_ELEMENTS(lists); i++)
        if (json_object_has_member(o, lists[i]))
            return json_array_get_object_element(json_object_get_array_member(o, lists[i]), 0);
    return NULL;
}

static gboolean is_optional(JsonObject *o, const char *name)
{
    if (json_object_has_member(o, "page_size"))
        return FALSE;
    for (guint i = 0; i < G_N_ELEMENTS(optional); i++)
        if (strcmp(optional[i], name) == 0)
            return TRUE;
    return FALSE;
}

static int parse_object(JsonNode *root)
{
    g_autofree char *text = json_to_string(root, FALSE);

    return parse(text);
}

/* Is the value one that this member could have? Then it proves nothing. */
static gboolean may_be(JsonObject *o, const char *member, const char *value)
{
    static const char *const texts[] = { "name", "block", "vmm", "vmm_version" };
    static const char *const numbers[] = { "id", "pages", "count", "guest_phys_addr" };
    gboolean text = FALSE, number = FALSE;

    for (guint i = 0; i < G_N_ELEMENTS(texts); i++)
        text |= strcmp(texts[i], member) == 0;
    for (guint i = 0; i < G_N_ELEMENTS(numbers); i++)
        number |= strcmp(numbers[i], member) == 0;
    if (is_optional(o, member) && strcmp(member, "vhost_user_unreached") != 0 && strcmp(value, "\"\"") == 0)
        return TRUE;
    if (text && strcmp(value, "\"\\u0001\"") == 0)
        return TRUE;
    if (number && strcmp(value, "7") == 0)
        return TRUE;
    if (strcmp(value, "true") == 0)
        return strcmp(member, "replace") == 0 || strcmp(member, "shared") == 0;
    return strcmp(value, "[]") == 0 && (strcmp(member, "blocks") == 0 || strcmp(member, "ranges") == 0 ||
                                        strcmp(member, "vhost_user_unreached") == 0);
}

/* Parses the message with the value in the member's place, as it stands: no generator sees it. */
static int parse_with(JsonNode *root, JsonObject *o, const char *member, const char *value)
{
    g_autofree char *text = NULL;
    g_autoptr(GString) changed = NULL;

    json_object_set_string_member(o, member, "@VALUE@");
    text = json_to_string(root, FALSE);
    changed = g_string_new(text);
    g_assert_cmpuint(g_string_replace(changed, "\"@VALUE@\"", value, 0), ==, 1);
    return parse(changed->str);
}

static void try_values(JsonNode *root, JsonObject *o, const char *member)
{
    JsonNode *original = json_node_copy(json_object_get_member(o, member));

    for (guint i = 0; i < G_N_ELEMENTS(wrong); i++) {
        int r = parse_with(root, o, member, wrong[i]);

        if (r == 0 && !may_be(o, member, wrong[i]))
            g_test_message("%s = %s was let through", member, wrong[i]);
        g_assert_true(r != 0 || may_be(o, member, wrong[i]));
    }
    json_object_remove_member(o, member);
    g_assert_cmpint(parse_object(root) == 0, ==, is_optional(o, member));
    json_object_set_member(o, member, original);
    g_assert_cmpint(parse_object(root), ==, 0);
}

static void test_every_member(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(JsonNode) root = json_from_string(good[i], NULL);
        JsonObject *objects[] = { json_node_get_object(root), inner_object(json_node_get_object(root)) };

        g_assert_cmpint(parse(good[i]), ==, 0);
        for (guint j = 0; j < G_N_ELEMENTS(objects) && objects[j]; j++) {
            g_autoptr(GList) members = json_object_get_members(objects[j]);
            g_autoptr(GList) copies = g_list_copy_deep(members, (GCopyFunc)(void (*)(void))g_strdup, NULL);

            for (GList *m = copies; m; m = m->next)
                try_values(root, objects[j], m->data);
            g_list_foreach(copies, (GFunc)(void (*)(void))g_free, NULL);
        }
    }
}

static const struct {
    const char *text;
    ProtoError code;
} refused[] = {
    { "{\"type\":\"x\",\"id\":1}", PROTO_ERROR_UNKNOWN_TYPE },
    { "{\"type\":\"hello\",\"id\":1,\"version\":0}", PROTO_ERROR_VERSION },
    { "{\"type\":\"hello\",\"id\":1,\"version\":2}", PROTO_ERROR_VERSION },
    { "{\"type\":\"poison\",\"id\":1,\"block\":\"ram\",\"count\":0}", PROTO_ERROR_BAD_COUNT },
    { "{\"type\":\"poison\",\"id\":1,\"block\":\"ram\",\"count\":65537}", PROTO_ERROR_BAD_COUNT },
    { "{\"type\":\"poison-set\",\"id\":1,\"replace\":true,\"ranges\":[{\"block\":\"rom\",\"offset\":0,"
      "\"length\":4096,\"origin\":\"host\"}]}",
      PROTO_ERROR_UNKNOWN_BLOCK },
    { "{\"type\":\"poison-set\",\"id\":1,\"replace\":true,\"ranges\":[{\"block\":\"ram\",\"offset\":1,"
      "\"length\":4096,\"origin\":\"host\"}]}",
      PROTO_ERROR_RANGE_UNALIGNED },
    { "{\"type\":\"poison-set\",\"id\":1,\"replace\":true,\"ranges\":[{\"block\":\"ram\",\"offset\":0,"
      "\"length\":0,\"origin\":\"host\"}]}",
      PROTO_ERROR_RANGE_EMPTY },
    { "{\"type\":\"poison-set\",\"id\":1,\"replace\":true,\"ranges\":[{\"block\":\"ram\",\"offset\":1048576,"
      "\"length\":4096,\"origin\":\"host\"}]}",
      PROTO_ERROR_RANGE_OUTSIDE_BLOCK },
    { "{\"type\":\"poison-set\",\"id\":1,\"replace\":true,\"ranges\":[{\"block\":\"ram\",\"offset\":0,"
      "\"length\":4096,\"origin\":\"elsewhere\"}]}",
      PROTO_ERROR_BAD_MEMBER },
    { "{\"type\":\"layout\",\"id\":1,\"blocks\":[{\"name\":\"ram\",\"host_virt_addr\":4096,\"size\":4096,"
      "\"page_size\":4096,\"kind\":\"anonymous\",\"shared\":false,\"split\":1}]}",
      PROTO_ERROR_BAD_MEMBER },
    { "{\"type\":\"layout\",\"id\":1,\"blocks\":[{\"name\":\"ram\",\"host_virt_addr\":4096,\"size\":0,"
      "\"page_size\":4096,\"kind\":\"anonymous\",\"shared\":false}]}",
      PROTO_ERROR_BAD_LAYOUT },
};

static void test_codes(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(refused); i++)
        g_assert_cmpint(parse(refused[i].text), ==, 1 + (int)refused[i].code);
}

static void test_many_set_ranges(void)
{
    for (guint n = VMM_MAX_SET_RANGES; n <= VMM_MAX_SET_RANGES + 1; n++) {
        g_autoptr(GString) text = g_string_new("{\"type\":\"poison-set\",\"id\":1,\"replace\":true,\"ranges\":[");

        for (guint i = 0; i < n; i++)
            g_string_append_printf(text, "%s{\"block\":\"ram\",\"offset\":%u,\"length\":4096,\"origin\":\"host\"}",
                                   i ? "," : "", 4096 * (i % 256));
        g_string_append(text, "]}");
        g_assert_cmpint(parse(text->str), ==, n <= VMM_MAX_SET_RANGES ? 0 : 1 + PROTO_ERROR_BAD_COUNT);
    }
}

static void test_many_unreached(void)
{
    for (guint n = VMM_MAX_UNREACHED; n <= VMM_MAX_UNREACHED + 1; n++) {
        g_autoptr(GString) text = g_string_new("{\"type\":\"poison-end\",\"id\":1,\"vhost_user_unreached\":[");

        for (guint i = 0; i < n; i++)
            g_string_append(text, i ? ",\"c\"" : "\"c\"");
        g_string_append(text, "]}");
        g_assert_cmpint(parse(text->str), ==, n <= VMM_MAX_UNREACHED ? 0 : 1 + PROTO_ERROR_BAD_COUNT);
    }
}

static void check_unreached(const char *text, const char *expected)
{
    g_auto(VmmRequest) request = { NULL };
    g_autoptr(GError) error = NULL;
    g_autofree char *unreached = NULL;

    g_assert_true(vmm_request_parse(&request, text, strlen(text), JSON_STRICT_MAX_WORDS, &error));
    g_assert_true(vmm_parse_end(&request, &unreached, &error));
    g_assert_cmpstr(unreached, ==, expected);
}

static void test_unreached(void)
{
    check_unreached("{\"type\":\"poison-end\",\"id\":1}", "");
    check_unreached("{\"type\":\"poison-end\",\"id\":1,\"vhost_user_unreached\":[]}", "");
    check_unreached("{\"type\":\"poison-end\",\"id\":1,\"vhost_user_unreached\":[\"a\",\"b\"]}", "'a', 'b'");
}

/* What the inventory is told may be finer than the pages of the block. */
static void test_small_set_range(void)
{
    g_assert_cmpint(parse("{\"type\":\"poison-set\",\"id\":1,\"replace\":true,\"ranges\":[{\"block\":\"huge\","
                          "\"offset\":4096,\"length\":4096,\"origin\":\"host\"}]}"),
                    ==, 0);
}

static JsonObject *object_of(const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) node = json_strict_parse(text, strlen(text), JSON_STRICT_MAX_WORDS, &error);

    g_assert_no_error(error);
    return json_node_dup_object(node);
}

/* Answers are JSON, whatever is in them. */
static void test_answers(void)
{
    g_autoptr(GError) error = g_error_new_literal(PROTO_ERROR, PROTO_ERROR_BAD_LAYOUT, "\"\n\033\\ \xc2\x9b");
    VmmPoisoned result = { .ranges = 100, .failed_count = 70 };
    g_autofree char *failure = vmm_answer_error(VMM_MAX_SET_RANGES, error);
    g_autofree char *ok = vmm_answer_ok(G_GINT64_CONSTANT(9007199254740991));
    g_autofree char *hello = vmm_answer_hello(1, FALSE, 5);
    g_autofree char *poisoned = NULL;
    g_autoptr(JsonObject) a = object_of(failure), b = object_of(ok), c = object_of(hello), d = NULL;
    JsonArray *failed;

    for (guint i = 0; i < VMM_MAX_FAILURES; i++)
        result.failed[i] = (VmmFailure){ .index = i, .errnum = i == 0 ? 9999 : EEXIST, .done = 4096 };
    poisoned = vmm_answer_poisoned(7, &result);
    d = object_of(poisoned);
    failed = json_object_get_array_member(d, "failed");
    g_assert_cmpstr(json_object_get_string_member(a, "message"), ==, error->message);
    g_assert_cmpstr(json_object_get_string_member(a, "code"), ==, "bad-layout");
    g_assert_cmpint(json_object_get_int_member(b, "id"), ==, 9007199254740991);
    g_assert_cmpuint(json_array_get_length(json_object_get_array_member(c, "features")), ==, 2);
    g_assert_cmpint(json_object_get_int_member(d, "failed_count"), ==, 70);
    g_assert_cmpuint(json_array_get_length(failed), ==, 64);
    g_assert_cmpstr(json_object_get_string_member(json_array_get_object_element(failed, 1), "error"), ==, "EEXIST");
    g_assert_cmpstr(json_object_get_string_member(json_array_get_object_element(failed, 0), "error"), ==, "unknown");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/protocol/every-member", test_every_member);
    g_test_add_func("/protocol/codes", test_codes);
    g_test_add_func("/protocol/many-set-ranges", test_many_set_ranges);
    g_test_add_func("/protocol/many-unreached", test_many_unreached);
    g_test_add_func("/protocol/unreached", test_unreached);
    g_test_add_func("/protocol/small-set-range", test_small_set_range);
    g_test_add_func("/protocol/answers", test_answers);
    return g_test_run();
}
