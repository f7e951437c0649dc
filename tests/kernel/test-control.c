/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an operator sees
 *
 * hwpoisonctl, the real program, asks about guests that this process plays: tables and JSON, lists longer
 * than one message, names that would like to drive the terminal, and the ways in which asking fails.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "test-agent.h"
#include "test-ram.h"
#include "test-vmm.h"

#define UUID "0d2b3b1e-3bd0-4a3e-8a65-7d4c0d6c2f10"

static JsonObject *json_of(const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) node = json_from_string(text, &error);

    g_assert_no_error(error);
    g_assert_true(JSON_NODE_HOLDS_OBJECT(node));
    return json_node_dup_object(node);
}

static JsonObject *ctl_json(TestAgent *agent, const char *command, const char *guest)
{
    int status;
    g_autofree char *text = test_agent_ctl(agent, &status, "--json", command, guest, NULL);

    g_assert_cmpint(status, ==, 0);
    return json_of(text);
}

static void expect_text(TestAgent *agent, int code, const char *wanted, const char *command, const char *guest)
{
    int status;
    g_autofree char *text = test_agent_ctl(agent, &status, command, guest, NULL);

    if (!strstr(text, wanted))
        g_test_message("%s", text);
    g_assert_nonnull(strstr(text, wanted));
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, code);
}

typedef struct {
    const char *path;
    int there[2]; /* pipe: a byte after hello */
} Other;

static void be_named_like_the_parent(gpointer data)
{
    Other *other = data;
    g_autoptr(Vmm) vmm = vmm_connect(other->path);
    g_autofree char *pid = g_strdup_printf("%d", getppid());

    vmm_hello(vmm, pid, "");
    g_assert_cmpint(write(other->there[1], "", 1), ==, 1);
    vmm_expect_eof(vmm); /* when the agent ends */
}

/* Another VMM took this process's id for its name. */
static void test_name_is_a_pid(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    g_autofree char *name = g_strdup_printf("%d", getpid()), *pid = g_strconcat("pid:", name, NULL);
    g_autoptr(JsonObject) own = NULL;
    Other other = { .path = agent->vmm };
    pid_t child;
    char byte;

    g_assert_no_errno(pipe2(other.there, O_CLOEXEC));
    child = test_fork(be_named_like_the_parent, &other);
    close(other.there[1]);
    g_assert_cmpint(read(other.there[0], &byte, 1), ==, 1);
    close(other.there[0]);
    vmm_hello(vmm, "vm1", "");
    expect_text(agent, 1, "process id of another guest: say pid:", "show", name);
    own = ctl_json(agent, "show", pid);
    g_assert_cmpstr(json_object_get_string_member(own, "name"), ==, "vm1");
    test_agent_stop(agent);
    g_assert_cmpint(test_wait(child), ==, 0);
}

static void tell_layout(Vmm *vmm)
{
    vmm_call_ok(vmm, -1, "layout",
                "\"blocks\":[{\"name\":\"pc.ram\",\"host_virt_addr\":1099511627776,\"size\":1073741824,"
                "\"page_size\":4096,\"kind\":\"anonymous\",\"shared\":false},"
                "{\"name\":\"hotplug\",\"host_virt_addr\":2199023255552,\"size\":1073741824,"
                "\"page_size\":2097152,\"kind\":\"hugetlb\",\"shared\":true}]");
}

static void tell_set(Vmm *vmm)
{
    vmm_call_ok(vmm, -1, "poison-set",
                "\"replace\":true,\"ranges\":["
                "{\"block\":\"hotplug\",\"offset\":2097152,\"length\":2097152,\"origin\":\"injected\"},"
                "{\"block\":\"pc.ram\",\"offset\":4096,\"length\":8192,\"guest_phys_addr\":4096,"
                "\"origin\":\"host\"}]");
}

static void expect_range(JsonObject *guest, guint at, const char *block, gint64 offset, gint64 length,
                         const char *origin)
{
    JsonObject *range = json_array_get_object_element(json_object_get_array_member(guest, "poison_set"), at);

    g_assert_cmpstr(json_object_get_string_member(range, "block"), ==, block);
    g_assert_cmpint(json_object_get_int_member(range, "offset"), ==, offset);
    g_assert_cmpint(json_object_get_int_member(range, "length"), ==, length);
    g_assert_cmpstr(json_object_get_string_member(range, "origin"), ==, origin);
}

static void test_show(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    g_autofree char *pid = g_strdup_printf("%d", getpid());
    const char *keys[] = { "vm1", UUID, "0D2B3B1E-3BD0-4A3E-8A65-7D4C0D6C2F10", pid };

    vmm_hello(vmm, "vm1", UUID);
    tell_layout(vmm);
    tell_set(vmm);
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_autoptr(JsonObject) guest = ctl_json(agent, "show", keys[i]);

        g_assert_cmpstr(json_object_get_string_member(guest, "name"), ==, "vm1");
        g_assert_cmpint(json_object_get_int_member(guest, "pid"), ==, getpid());
        g_assert_cmpstr(json_object_get_string_member(guest, "state"), ==, "ready");
        g_assert_cmpint(json_object_get_int_member(guest, "set_pages"), ==, 3);
        g_assert_cmpuint(json_array_get_length(json_object_get_array_member(guest, "layout")), ==, 2);
        expect_range(guest, 0, "pc.ram", 4096, 8192, "host");
        expect_range(guest, 1, "hotplug", 2097152, 2097152, "injected");
    }
    expect_text(agent, 0, "pc.ram                   0x0000000000001000 0x0000000000001000 0x2000", "show", "vm1");
    expect_text(agent, 0, UUID, "list", NULL);
    expect_text(agent, 0, "pages per guest  1048576", "status", NULL);
}

static void test_counters(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    g_autoptr(Ram) ram = ram_new(RAM_ANONYMOUS, 16);
    g_autoptr(JsonObject) done = NULL, refused = NULL, guest = NULL, status = NULL;
    const VmmRecord records[] = { { 0, 8192 }, { 12288, 4096 } };

    vmm_hello(vmm, "vm1", "");
    ram_send_layout(vmm, ram, "ram");
    ram_prepare(ram, 0, 3);
    ram_begin(vmm, ram, 0);
    done = vmm_poison(vmm, "ram", records, 2); /* the second one is not registered */
    refused = vmm_poison(vmm, "nowhere", records, 2);
    guest = ctl_json(agent, "show", "vm1");
    g_assert_cmpstr(json_object_get_string_member(guest, "state"), ==, "poisoning");
    g_assert_cmpint(json_object_get_int_member(guest, "pages_poisoned"), ==, 2);
    g_assert_cmpint(json_object_get_int_member(guest, "pages_failed"), ==, 1);
    g_assert_cmpint(json_object_get_int_member(guest, "refused"), ==, 1);
    g_assert_nonnull(strstr(json_object_get_string_member(guest, "last_error"), "nowhere"));
    vmm_call_ok(vmm, -1, "poison-end", "%s", "");
    status = ctl_json(agent, "status", NULL);
    g_assert_cmpint(json_object_get_int_member(status, "pages_poisoned"), ==, 2);
    g_assert_cmpint(json_object_get_int_member(status, "refused"), ==, 1);
    g_assert_cmpint(json_object_get_int_member(status, "guests"), ==, 1);
    g_assert_cmpint(json_object_get_int_member(status, "pid"), ==, agent->pid);
}

static void send_page_of_set(Vmm *vmm, guint first, guint n)
{
    g_autoptr(GString) members = g_string_new(NULL);

    g_string_printf(members, "\"replace\":%s,\"ranges\":[", first == 0 ? "true" : "false");
    for (guint i = first; i < first + n; i++)
        g_string_append_printf(members, "%s{\"block\":\"pc.ram\",\"offset\":%u,\"length\":4096,\"origin\":\"host\"}",
                               i == first ? "" : ",", 8192 * i);
    g_string_append_c(members, ']');
    vmm_call_ok(vmm, -1, "poison-set", "%s", members->str);
}

/* More ranges than fit a message, in either direction, told out of order. */
static void test_pages(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    g_autoptr(JsonObject) guest = NULL;
    JsonArray *set;

    vmm_hello(vmm, "vm1", "");
    tell_layout(vmm);
    send_page_of_set(vmm, 0, 4096);
    send_page_of_set(vmm, 8192, 2000);
    send_page_of_set(vmm, 4096, 4096);
    send_page_of_set(vmm, 4096, 4096); /* again: nothing new */
    guest = ctl_json(agent, "show", "vm1");
    set = json_object_get_array_member(guest, "poison_set");
    g_assert_cmpuint(json_array_get_length(set), ==, 10192);
    g_assert_cmpint(json_object_get_int_member(guest, "set_pages"), ==, 10192);
    for (guint i = 0; i < 10192; i += 13)
        expect_range(guest, i, "pc.ram", 8192 * i, 4096, "host");
}

/* A layout that changes: ranges of blocks that stay are kept. */
static void test_layout_changes(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    g_autoptr(JsonObject) guest = NULL;

    vmm_hello(vmm, "vm1", "");
    tell_layout(vmm);
    tell_set(vmm);
    vmm_call_ok(vmm, -1, "layout",
                "\"blocks\":[{\"name\":\"hotplug\",\"host_virt_addr\":2199023255552,\"size\":1073741824,"
                "\"page_size\":2097152,\"kind\":\"hugetlb\",\"shared\":true}]");
    guest = ctl_json(agent, "show", "vm1");
    g_assert_cmpuint(json_array_get_length(json_object_get_array_member(guest, "poison_set")), ==, 1);
    expect_range(guest, 0, "hotplug", 2097152, 2097152, "injected");
}

static gboolean plain(const char *text)
{
    for (; *text; text++)
        if (((guchar)*text < 0x20 && *text != '\n') || (guchar)*text >= 0x7f)
            return FALSE;
    return TRUE;
}

/* ESC, CSI (U+009B) and what shows nothing (U+3164) in every string of a VMM. */
static void test_terminal(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);
    g_autoptr(Vmm) vmm = vmm_connect(agent->vmm);
    g_autofree char *pid = g_strdup_printf("%d", getpid());
    const char *commands[][2] = { { "list", NULL }, { "show", pid }, { "show", "\033[2J" } };

    vmm_hello(vmm, "evil\\u001b[2J\\u009b2J\\n\\u3164name", "");
    vmm_call_ok(vmm, -1, "layout",
                "\"blocks\":[{\"name\":\"\\u001b]0;x\\u0007\",\"host_virt_addr\":4096,\"size\":4096,"
                "\"page_size\":4096,\"kind\":\"shmem\",\"shared\":true}]");
    for (guint i = 0; i < G_N_ELEMENTS(commands); i++) {
        int status;
        g_autofree char *table = test_agent_ctl(agent, &status, commands[i][0], commands[i][1], NULL);
        g_autofree char *json = test_agent_ctl(agent, &status, "--json", commands[i][0], commands[i][1], NULL);

        g_assert_true(plain(table));
        g_assert_true(plain(json));
    }
    expect_text(agent, 0, "evil\\x1b[2J\\u{009b}2J\\x0a\\u{3164}name", "list", NULL);
}

static void ask_as_nobody(gpointer data)
{
    g_assert_no_errno(setgid(65534));
    g_assert_no_errno(setuid(65534));
    expect_text(data, 1, "permission denied", "list", NULL);
}

static void test_failures(void)
{
    g_autoptr(TestAgent) agent = test_agent_start(NULL);

    expect_text(agent, 1, "no guest here has the name, UUID or process id 'vm9'", "show", "vm9");
    expect_text(agent, 2, "usage:", "show", NULL);
    expect_text(agent, 2, "usage:", "dance", NULL);
    if (getuid() == 0) {
        g_autofree char *original = g_strdup(g_getenv("HWPOISONCTL"));
        g_autofree char *copy = test_agent_publish(agent, original);

        g_setenv("HWPOISONCTL", copy, TRUE);
        g_assert_cmpint(test_wait(test_fork(ask_as_nobody, agent)), ==, 0);
        g_setenv("HWPOISONCTL", original, TRUE);
    }
    test_agent_stop(agent);
    expect_text(agent, 1, "the agent is not running", "list", NULL);
}

/* Nonsense on the control socket: the agent stays, as do other clients. */
static void test_nonsense(void)
{
    static const char *const bodies[] = { "x", "{}", "{\"type\":\"list\",\"id\":0}", "[1]" };
    g_autoptr(TestAgent) agent = test_agent_start(NULL);

    for (guint i = 0; i < G_N_ELEMENTS(bodies); i++) {
        g_autoptr(Vmm) client = vmm_connect(agent->control);
        g_autoptr(JsonObject) answer = NULL;

        vmm_send(client, bodies[i], NULL, 0);
        answer = vmm_receive(client);
        vmm_expect_error(answer, "bad-json");
        vmm_expect_eof(client);
    }
    g_autoptr(Vmm) client = vmm_connect(agent->control);
    g_autoptr(JsonObject) unknown = vmm_call(client, -1, "dance", "%s", "");
    g_autoptr(JsonObject) beyond = vmm_call(client, -1, "list", "\"from\":9223372036854775807");
    g_autoptr(JsonObject) negative = vmm_call(client, -1, "list", "\"from\":-1");
    vmm_expect_error(unknown, "unknown-type");
    g_assert_cmpuint(json_array_get_length(json_object_get_array_member(beyond, "guests")), ==, 0);
    vmm_expect_error(negative, "bad-member");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/control/show", test_show);
    g_test_add_func("/control/name-is-a-pid", test_name_is_a_pid);
    g_test_add_func("/control/pages", test_pages);
    g_test_add_func("/control/layout-changes", test_layout_changes);
    g_test_add_func("/control/terminal", test_terminal);
    g_test_add_func("/control/failures", test_failures);
    g_test_add_func("/control/nonsense", test_nonsense);
    if (ram_kernel_can_poison())
        g_test_add_func("/control/counters", test_counters);
    return g_test_run();
}
