/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Command lines of both programs: what is asked for goes to stdout, complaints to stderr, and the exit
 * status tells which
 */
#include <json-glib/json-glib.h>
#include <string.h>
#include <sys/wait.h>

#include "test-ram.h"

typedef struct {
    char *out, *err;
    int code;
} Run;

static Run run(const char *program, const char *a, const char *b)
{
    const char *argv[] = { g_getenv(program), a, b, NULL };
    g_autoptr(GError) error = NULL;
    Run r = { NULL };
    int status;

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, &r.out, &r.err, &status, &error);
    g_assert_no_error(error);
    g_assert_true(WIFEXITED(status));
    r.code = WEXITSTATUS(status);
    return r;
}

static void run_clear(Run *r)
{
    g_free(r->out);
    g_free(r->err);
}

static const struct {
    const char *program, *a, *b;
    int code;
    const char *out, *err; /* must be in it; NULL: it must be empty */
} runs[] = {
    { "HWPOISOND", "--help", NULL, 0, "--print-capabilities", NULL },
    { "HWPOISONCTL", "--help", NULL, 0, "show GUEST", NULL },
    { "HWPOISOND", "--version", NULL, 0, "hwpoisond " HWPOISOND_VERSION "\n", NULL },
    { "HWPOISONCTL", "--version", NULL, 0, "hwpoisonctl " HWPOISOND_VERSION "\n", NULL },
    { "HWPOISOND", "--dance", NULL, 2, NULL, "--dance" },
    { "HWPOISONCTL", "--dance", NULL, 2, NULL, "--dance" },
    { "HWPOISOND", "argument", NULL, 2, NULL, "unexpected argument 'argument'" },
    { "HWPOISONCTL", NULL, NULL, 2, NULL, "usage:" },
    { "HWPOISOND", "--config", "/nonexistent", 1, NULL, "/nonexistent: " },
};

static void expect_in(const char *text, const char *wanted)
{
    if (wanted)
        g_assert_nonnull(strstr(text, wanted));
    else
        g_assert_cmpstr(text, ==, "");
}

static void test_runs(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(runs); i++) {
        Run r = run(runs[i].program, runs[i].a, runs[i].b);

        g_assert_cmpint(r.code, ==, runs[i].code);
        expect_in(r.out, runs[i].out);
        expect_in(r.err, runs[i].err);
        run_clear(&r);
    }
}

static void test_capabilities(void)
{
    Run r = run("HWPOISOND", "--print-capabilities", NULL);
    g_autoptr(JsonNode) node = json_from_string(r.out, NULL);
    JsonObject *object = json_node_get_object(node);
    JsonArray *features = json_object_get_array_member(object, "features");
    gboolean poison = FALSE;

    for (guint i = 0; i < json_array_get_length(features); i++)
        poison |= strcmp(json_array_get_string_element(features, i), "poison") == 0;
    g_assert_cmpint(r.code, ==, 0);
    g_assert_cmpstr(json_object_get_string_member(object, "type"), ==, "hwpoisond");
    g_assert_cmpint(json_object_get_int_member(object, "vmm_protocol"), ==, 1);
    g_assert_cmpint(poison, ==, ram_kernel_can_poison());
    run_clear(&r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/options/runs", test_runs);
    g_test_add_func("/options/capabilities", test_capabilities);
    return g_test_run();
}
