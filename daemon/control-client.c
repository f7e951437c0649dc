/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asking the agent
 *
 * The client side of docs/control-protocol.md, blocking, with a time limit on every step. Lists come
 * in pages, which are put together here. Errors are for an operator's eyes: they say what was tried,
 * what is wrong and, where it is known, what to do about it.
 */
#include "control-client.h"

#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/frame.h"
#include "util/json-member.h"
#include "util/json-strict.h"

#define TIME_LIMIT_S 10

struct ControlClient {
    int fd;
    gint64 id;
    FrameReader reader;
};

static const char *advice_for(int errnum)
{
    if (errnum == ENOENT || errnum == ECONNREFUSED)
        return "the agent is not running";
    if (errnum == EACCES || errnum == EPERM)
        return "permission denied; be root or in the group of the socket";
    return g_strerror(errnum);
}

static int connect_to(const char *path)
{
    const struct timeval limit = { .tv_sec = TIME_LIMIT_S };
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd, errnum;

    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    errnum = errno;
    close(fd);
    return -errnum;
}

/**
 * control_client_new() - connect to the agent
 * @path: its control socket
 * @error: why that failed, for an operator
 *
 * Return: a client, to be freed with control_client_free(), or NULL.
 */
ControlClient *control_client_new(const char *path, GError **error)
{
    ControlClient *client;
    int fd = connect_to(path);

    if (fd < 0) {
        g_set_error(error, G_IO_ERROR, (gint)g_io_error_from_errno(-fd), "cannot reach the agent at %s: %s",
                    path, advice_for(-fd));
        return NULL;
    }
    client = g_new0(ControlClient, 1);
    client->fd = fd;
    frame_reader_init(&client->reader);
    return client;
}

/**
 * control_client_free() - disconnect
 * @client: the client, or NULL
 */
void control_client_free(ControlClient *client)
{
    if (!client)
        return;
    frame_reader_deinit(&client->reader);
    close(client->fd);
    g_free(client);
}

static char *make_request(gint64 id, const char *type, const char *guest, gint64 from)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    g_autoptr(JsonObject) object = json_object_new();

    json_object_set_string_member(object, "type", type);
    json_object_set_int_member(object, "id", id);
    json_object_set_int_member(object, "from", from);
    if (guest)
        json_object_set_string_member(object, "guest", guest);
    json_node_set_object(node, object);
    return json_to_string(node, FALSE);
}

static gboolean transfer(ControlClient *client, const char *request, GError **error)
{
    gsize size = strlen(request);
    int r = FRAME_E_EOF;

    if (frame_send(client->fd, request, size, 0) == (ssize_t)(FRAME_HEADER_SIZE + size)) {
        frame_reader_reset(&client->reader);
        r = frame_reader_read(&client->reader, client->fd);
    }
    if (r == FRAME_E_MESSAGE)
        return TRUE;
    if (r == FRAME_E_MORE)
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT, "the agent did not answer within %d seconds",
                    TIME_LIMIT_S);
    else
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "the agent closed the connection");
    return FALSE;
}

/* An answer of type "error" becomes an error here. */
static gboolean check_answer(JsonObject *answer, GError **error)
{
    const char *type, *message = "";

    if (!member_string(answer, "answer: ", "type", 1, 64, &type, error))
        return FALSE;
    if (strcmp(type, "error") != 0)
        return TRUE;
    if (member_string(answer, "answer: ", "message", 0, FRAME_MAX_BODY, &message, error))
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_FAILED, message);
    return FALSE;
}

static JsonNode *call_from(ControlClient *client, const char *type, const char *guest, gint64 from,
                           GError **error)
{
    g_autofree char *request = make_request(++client->id, type, guest, from);
    g_autoptr(JsonNode) root = NULL;

    if (!transfer(client, request, error))
        return NULL;
    root = json_strict_parse(client->reader.body, client->reader.size, FRAME_MAX_BODY, error);
    if (!root) {
        g_prefix_error(error, "answer: ");
        return NULL;
    }
    return check_answer(json_node_get_object(root), error) ? g_steal_pointer(&root) : NULL;
}

/**
 * control_client_call() - one question
 * @client: the client
 * @type: the request
 * @guest: whom it is about, or NULL
 * @error: also what the agent refuses
 *
 * Return: the answer, an object, to be freed with json_node_unref(), or NULL.
 */
JsonNode *control_client_call(ControlClient *client, const char *type, const char *guest, GError **error)
{
    return call_from(client, type, guest, 0, error);
}

/*
 * Moves the elements of the page that begins there; returns where the next one begins, which is behind it, 0 at
 * the end, or -1.
 */
static gint64 take_page(JsonObject *answer, const char *name, gint64 from, JsonArray *all, GError **error)
{
    JsonArray *page = member_array(answer, "answer: ", name, error);
    gint64 next = 0;

    if (!page)
        return -1;
    for (guint i = 0; i < json_array_get_length(page); i++)
        json_array_add_element(all, json_array_dup_element(page, i));
    if (json_object_has_member(answer, "next") &&
        !member_int(answer, "answer: ", "next", from + 1, G_MAXUINT32, &next, error))
        return -1;
    return next;
}

/**
 * control_client_call_list() - a question whose answer is a list
 * @client: the client
 * @type: the request: "list" (of guests), "blocks" or "ranges"
 * @guest: whom it is about, or NULL
 * @error: also what the agent refuses
 *
 * Return: all elements, to be freed with json_array_unref(), or NULL.
 */
JsonArray *control_client_call_list(ControlClient *client, const char *type, const char *guest,
                                    GError **error)
{
    g_autoptr(JsonArray) all = json_array_new();
    const char *name = strcmp(type, "list") == 0 ? "guests" : type;
    gint64 from = 0;

    do {
        g_autoptr(JsonNode) answer = call_from(client, type, guest, from, error);

        if (!answer)
            return NULL;
        from = take_page(json_node_get_object(answer), name, from, all, error);
    } while (from > 0);
    return from == 0 ? g_steal_pointer(&all) : NULL;
}
