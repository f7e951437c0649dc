/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON from strangers: what is let through, and that nothing else is
 *
 * Among the texts are those at which json-glib by itself runs out of stack, wraps integers around, or
 * reads what is not JSON.
 */
#include <string.h>

#include "util/json-member.h"
#include "util/json-strict.h"
#include "util/proto-error.h"

static const char *const good[] = {
    "{}",
    " \t\r\n{ } \n",
    "{\"a\":1,\"b\":-1,\"c\":0,\"d\":1.5,\"e\":1e9,\"f\":-2.5E-3,\"g\":true,\"h\":false,\"i\":null}",
    "{\"a\":[[],[{}],\"\"],\"b\":{\"c\":{\"d\":[1,2,3]}}}",
    "{\"s\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00 \xc3\xa9\"}",
    "{\"max\":9223372036854775807,\"min\":-9223372036854775807,\"real\":18446744073709551615e0}",
};

static const char *const bad[] = {
    "", " ", "1", "\"a\"", "[]", "null", "true", "{", "}", "{}}", "{}{}", "{} x", "{},", "{\"a\"}", "{\"a\":}",
    "{\"a\":1,}", "{\"a\":1 \"b\":2}", "{a:1}", "{'a':1}", "{\"a\":[1,]}", "{\"a\":[1}", "{\"a\":{1]}", "{]",
    /* what json-glib takes for granted */
    "var x = {}", "{\"a\":1} // c", "{/* c */\"a\":1}", "# c\n{}", "{\"a\":0x10}", "{\"a\":010}", "{\"a\":+1}",
    "{\"a\":.5}", "{\"a\":1.}", "{\"a\":1e}", "{\"a\":-}", "{\"a\":nul}", "{\"a\":True}", "{\"a\":NaN}",
    "{\"a\":-Infinity}",
    /* integers that would wrap */
    "{\"a\":9223372036854775808}", "{\"a\":18446744073709551615}", "{\"a\":18446744073709551616}",
    "{\"a\":-9223372036854775808}", "{\"a\":-18446744073709551615}", "{\"a\":111111111111111111111}",
    /* strings */
    "{\"a\":\"", "{\"a\":\"\\\"}", "{\"a\":\"\\x41\"}", "{\"a\":\"\\u12\"}", "{\"a\":\"\\u12g4\"}",
    "{\"a\":\"\\u0000\"}", "{\"a\":\"\n\"}", "{\"a\":\"\x01\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\xc0\x80\"}",
    "{\"a\":\"\xed\xa0\x80\"}",
    /* surrogates */
    "{\"a\":\"\\ud800\"}", "{\"a\":\"\\udc00\"}", "{\"a\":\"\\ud800x\"}", "{\"a\":\"\\ud800\\n\"}",
    "{\"a\":\"\\ud800\\u0041\"}", "{\"a\":\"\\udc00\\ud800\"}", "{\"a\":\"\\ud800\\ud800\"}", "{\"a\":\"\\ud800\\u",
    /* depth */
    "{\"a\":[[[[[[[[]]]]]]]]}", "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}}}}}",
};

static JsonNode *parse(const char *text, gsize size, GError **error)
{
    return json_strict_parse(text, size, JSON_STRICT_MAX_WORDS, error);
}

static void test_good(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonNode) node = parse(good[i], strlen(good[i]), &error);

        g_assert_no_error(error);
        g_assert_true(JSON_NODE_HOLDS_OBJECT(node));
    }
}

static void test_bad(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonNode) node = parse(bad[i], strlen(bad[i]), &error);

        if (node)
            g_test_message("let through: %s", bad[i]);
        g_assert_null(node);
        g_assert_error(error, PROTO_ERROR, PROTO_ERROR_BAD_JSON);
    }
}

static void test_nul(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(parse("{}\0{}", 5, &error));
    g_assert_error(error, PROTO_ERROR, PROTO_ERROR_BAD_JSON);
}

/* Every prefix of a good text is bad. */
static void test_prefixes(void)
{
    const char *text = good[4];

    for (gsize size = 0; size < strlen(text); size++) {
        g_autofree char *prefix = g_strndup(text, size);
        g_autoptr(GError) error = NULL;

        g_assert_null(parse(prefix, size, &error));
        g_assert_error(error, PROTO_ERROR, PROTO_ERROR_BAD_JSON);
    }
}

static void test_huge(void)
{
    const gsize size = 1024 * 1024;
    g_autofree char *deep = g_strnfill(size, '['), *wide = g_strnfill(size, ',');
    g_autoptr(GError) a = NULL, b = NULL;

    memcpy(deep, "{\"a\":", 5);
    memcpy(wide, "{\"a\":[", 6);
    for (gsize i = 6; i + 2 < size; i += 2)
        wide[i] = '0';
    memcpy(wide + size - 3, "0]}", 3);
    g_assert_null(parse(deep, size, &a));
    g_assert_error(a, PROTO_ERROR, PROTO_ERROR_BAD_JSON);
    g_assert_null(parse(wide, size, &b));
    g_assert_error(b, PROTO_ERROR, PROTO_ERROR_BAD_JSON);
}

/* n members, one inside an object inside a list, with names that json-glib's hash does not tell apart. */
static char *colliding(guint n)
{
    static const char *const parts[] = { "Ez", "FY", "G8" };
    GString *text = g_string_new("{\"a\":{},\"b\":[{");

    for (guint i = 0; i < n; i++) {
        g_string_append(text, i ? ",\"" : "\"");
        for (guint k = 0, rest = i; k < 10; k++, rest /= 3)
            g_string_append(text, parts[rest % 3]);
        g_string_append(text, "\":1");
    }
    return g_string_free(g_string_append(text, "}]}"), FALSE);
}

/* By itself, json-glib takes half a minute for 32,000 of these. */
static void test_collisions(void)
{
    g_autofree char *most = colliding(JSON_STRICT_MAX_MEMBERS), *more = colliding(JSON_STRICT_MAX_MEMBERS + 1);
    g_autofree char *attack = colliding(32000);
    g_autoptr(JsonNode) node = parse(most, strlen(most), NULL);
    gint64 start = g_get_monotonic_time();

    g_assert_nonnull(node);
    g_assert_null(parse(more, strlen(more), NULL));
    g_assert_null(parse(attack, strlen(attack), NULL));
    g_assert_cmpint(g_get_monotonic_time() - start, <, 2 * G_USEC_PER_SEC);
}

static void test_words(void)
{
    static const char text[] = "{\"a\":[1]}"; /* seven */

    g_autoptr(JsonNode) node = json_strict_parse(text, strlen(text), 7, NULL);

    g_assert_nonnull(node);
    g_assert_null(json_strict_parse(text, strlen(text), 6, NULL));
}

static void test_members(void)
{
    static const char text[] = "{\"int\":7,\"big\":9223372036854775807,\"real\":7.0,\"text\":\"abc\",\"yes\":true,"
                               "\"none\":null,\"list\":[1],\"object\":{}}";
    static const char *const names[] = { "int", "big", "real", "text", "yes", "none", "list", "object", "missing" };
    g_autoptr(JsonNode) root = parse(text, strlen(text), NULL);
    JsonObject *o = json_node_get_object(root);

    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        gboolean flag = 2;
        gint64 number = 42;
        const char *string = "untouched";

        g_assert_cmpint(member_int(o, "", names[i], 0, 7, &number, NULL), ==, i == 0);
        g_assert_cmpint(number, ==, i == 0 ? 7 : 42);
        g_assert_cmpint(member_string(o, "", names[i], 1, 3, &string, NULL), ==, i == 3);
        g_assert_cmpstr(string, ==, i == 3 ? "abc" : "untouched");
        g_assert_cmpint(member_bool(o, "", names[i], &flag, NULL), ==, i == 4);
        g_assert_cmpint(flag, ==, i == 4 ? TRUE : 2);
        g_assert_cmpint(member_array(o, "", names[i], NULL) != NULL, ==, i == 6);
    }
}

static void test_limits(void)
{
    static const char text[] = "{\"n\":7,\"s\":\"abc\"}";
    g_autoptr(JsonNode) root = parse(text, strlen(text), NULL);
    JsonObject *o = json_node_get_object(root);
    g_autoptr(GError) error = NULL;
    const char *string;
    gint64 number;

    g_assert_false(member_int(o, "", "n", 0, 6, &number, NULL));
    g_assert_false(member_int(o, "", "n", 8, 9, &number, NULL));
    g_assert_false(member_string(o, "", "s", 1, 2, &string, NULL));
    g_assert_false(member_string(o, "", "s", 4, 9, &string, NULL));
    g_assert_true(member_string(o, "", "missing", 0, 9, &string, NULL));
    g_assert_cmpstr(string, ==, "");
    g_assert_false(member_int(o, "hello: ", "n", 0, 6, &number, &error));
    g_assert_error(error, PROTO_ERROR, PROTO_ERROR_BAD_MEMBER);
    g_assert_cmpstr(error->message, ==, "hello: n: not from 0 to 6");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/json/good", test_good);
    g_test_add_func("/json/bad", test_bad);
    g_test_add_func("/json/nul", test_nul);
    g_test_add_func("/json/prefixes", test_prefixes);
    g_test_add_func("/json/huge", test_huge);
    g_test_add_func("/json/collisions", test_collisions);
    g_test_add_func("/json/words", test_words);
    g_test_add_func("/json/members", test_members);
    g_test_add_func("/json/limits", test_limits);
    return g_test_run();
}
