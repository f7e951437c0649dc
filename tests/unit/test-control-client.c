/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asking an agent that answers badly: hwpoisonctl must say so, and end
 */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "control-client.h"
#include "util/frame.h"

/* An agent that gives the same answer to every question. */
typedef struct {
    char *path;
    int listener;
    const char *answer;
    GThread *thread;
} BadAgent;

static gpointer serve(gpointer data)
{
    const BadAgent *agent = data;
    int fd = accept4(agent->listener, NULL, NULL, SOCK_CLOEXEC);
    FrameReader reader;

    g_assert_no_errno(fd);
    frame_reader_init(&reader);
    while (frame_reader_read(&reader, fd) == FRAME_E_MESSAGE) {
        frame_send(fd, agent->answer, strlen(agent->answer), 0);
        frame_reader_reset(&reader);
    }
    frame_reader_deinit(&reader);
    close(fd);
    return NULL;
}

static BadAgent *agent_new(const char *answer)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    BadAgent *agent = g_new0(BadAgent, 1);

    agent->path = g_strdup_printf("%s/hwpoisond-test-%d", g_get_tmp_dir(), (int)getpid());
    agent->answer = answer;
    agent->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_no_errno(agent->listener);
    g_strlcpy(address.sun_path, agent->path, sizeof(address.sun_path));
    g_assert_no_errno(bind(agent->listener, (const struct sockaddr *)&address, sizeof(address)));
    g_assert_no_errno(listen(agent->listener, 1));
    agent->thread = g_thread_new("agent", serve, agent);
    return agent;
}

static void agent_free(BadAgent *agent)
{
    g_thread_join(agent->thread);
    close(agent->listener);
    g_unlink(agent->path);
    g_free(agent->path);
    g_free(agent);
}

static const struct {
    const char *answer;
    const char *error; /* or NULL: it is a good one */
} answers[] = {
    { "{\"type\":\"list\",\"id\":1,\"guests\":[]}", NULL },
    { "{\"type\":\"list\",\"id\":1,\"guests\":[],\"next\":1}", "next" }, /* always the same page */
    { "{\"type\":\"list\",\"id\":1,\"guests\":[],\"next\":0}", "next" },
    { "{\"type\":\"list\",\"id\":1,\"guests\":[],}", "not one JSON object" },
    { "{\"type\":\"list\",\"id\":1,\"guests\":[]}{}", "not one JSON object" },
    { "{\"type\":\"list\",\"id\":1,\"guests\":[]/**/}", "not one JSON object" },
    { "[]", "not one JSON object" },
    { "{\"type\":\"list\",\"id\":1}", "guests" },
    { "{\"type\":\"error\",\"id\":1,\"message\":\"no such thing\"}", "no such thing" },
};

static void test_list(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(answers); i++) {
        BadAgent *agent = agent_new(answers[i].answer);
        g_autoptr(GError) error = NULL;
        ControlClient *client = control_client_new(agent->path, &error);
        g_autoptr(JsonArray) list = NULL;

        g_assert_no_error(error);
        list = control_client_call_list(client, "list", NULL, &error);
        g_assert_cmpint(list != NULL, ==, answers[i].error == NULL);
        if (!list)
            g_assert_nonnull(strstr(error->message, answers[i].error));
        control_client_free(client);
        agent_free(agent);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/control-client/list", test_list);
    return g_test_run();
}
