/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all requests have in common
 *
 * One JSON object with "type" and "id", on both sockets. If that much is not there, the peer does not
 * speak the protocol, nothing can be answered to, and the connection ends; so all of it is one error.
 */
#include "envelope.h"

#include "json-member.h"
#include "json-strict.h"
#include "proto-error.h"

/**
 * envelope_parse() - parse a request as far as all requests are alike
 * @body: body of a frame, NUL-terminated at @size
 * @size: its size
 * @max_words: as for json_strict_parse()
 * @ret_id: the request's id
 * @ret_type: its type, which belongs to the result
 * @error: PROTO_ERROR_BAD_JSON; must not be NULL
 *
 * Return: the object's node (json_node_unref()), or NULL.
 */
JsonNode *envelope_parse(const char *body, gsize size, guint max_words, gint64 *ret_id,
                         const char **ret_type, GError **error)
{
    g_autoptr(JsonNode) root = json_strict_parse(body, size, max_words, error);
    JsonObject *object = root ? json_node_get_object(root) : NULL;

    if (!object)
        return NULL;
    if (member_int(object, "", "id", 1, ENVELOPE_MAX_ID, ret_id, error) &&
        member_string(object, "", "type", 1, ENVELOPE_MAX_TYPE, ret_type, error))
        return g_steal_pointer(&root);
    (*error)->code = PROTO_ERROR_BAD_JSON;
    *ret_id = 0;
    return NULL;
}
