/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Members of JSON objects, with types and limits
 *
 * json-glib's own getters convert (a string to 0, 4096.7 to 4096) or abort on the wrong type. These
 * do neither: a member is there, has exactly the type asked for and is inside its limits, or the
 * error PROTO_ERROR_BAD_MEMBER says which member of what is at fault. "where" is the prefix of the
 * member's name in messages, such as "layout: blocks[3].".
 *
 * Output parameters stay untouched on failure.
 */
#include "json-member.h"

#include <string.h>

#include "proto-error.h"

static void set_error(GError **error, const char *where, const char *name, const char *fault)
{
    g_set_error(error, PROTO_ERROR, PROTO_ERROR_BAD_MEMBER, "%s%s: %s", where, name, fault);
}

/* The member's node if it holds a plain value of the given type. */
static JsonNode *typed_member(JsonObject *object, const char *where, const char *name, GType type,
                              const char *fault, GError **error)
{
    JsonNode *node = json_object_get_member(object, name);

    if (!node) {
        set_error(error, where, name, "missing");
        return NULL;
    }
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != type) {
        set_error(error, where, name, fault);
        return NULL;
    }
    return node;
}

/**
 * member_int() - an integer
 * @object: the object
 * @where: prefix for messages
 * @name: the member
 * @min: smallest value allowed
 * @max: largest value allowed
 * @ret_value: where to put it
 * @error: PROTO_ERROR_BAD_MEMBER
 */
gboolean member_int(JsonObject *object, const char *where, const char *name, gint64 min, gint64 max,
                    gint64 *ret_value, GError **error)
{
    JsonNode *node = typed_member(object, where, name, G_TYPE_INT64, "not an integer", error);
    gint64 value;

    if (!node)
        return FALSE;
    value = json_node_get_int(node);
    if (value < min || value > max) {
        g_autofree char *fault =
            g_strdup_printf("not from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT, min, max);

        set_error(error, where, name, fault);
        return FALSE;
    }
    *ret_value = value;
    return TRUE;
}

/**
 * member_string() - a string
 * @object: the object
 * @where: prefix for messages
 * @name: the member
 * @min_size: bytes that it must have; with 0 the member may be missing, and is "" then
 * @max_size: bytes that it may have
 * @ret_value: where to put it; belongs to @object
 * @error: PROTO_ERROR_BAD_MEMBER
 */
gboolean member_string(JsonObject *object, const char *where, const char *name, gsize min_size,
                       gsize max_size, const char **ret_value, GError **error)
{
    const char *value;
    JsonNode *node;

    if (min_size == 0 && !json_object_has_member(object, name)) {
        *ret_value = "";
        return TRUE;
    }
    node = typed_member(object, where, name, G_TYPE_STRING, "not a string", error);
    if (!node)
        return FALSE;
    value = json_node_get_string(node);
    if (strlen(value) < min_size || strlen(value) > max_size) {
        g_autofree char *fault =
            g_strdup_printf("not of %" G_GSIZE_FORMAT " to %" G_GSIZE_FORMAT " bytes", min_size, max_size);

        set_error(error, where, name, fault);
        return FALSE;
    }
    *ret_value = value;
    return TRUE;
}

/**
 * member_bool() - true or false
 * @object: the object
 * @where: prefix for messages
 * @name: the member
 * @ret_value: where to put it
 * @error: PROTO_ERROR_BAD_MEMBER
 */
gboolean member_bool(JsonObject *object, const char *where, const char *name, gboolean *ret_value,
                     GError **error)
{
    JsonNode *node = typed_member(object, where, name, G_TYPE_BOOLEAN, "neither true nor false", error);

    if (!node)
        return FALSE;
    *ret_value = json_node_get_boolean(node);
    return TRUE;
}

/**
 * member_array() - an array
 * @object: the object
 * @where: prefix for messages
 * @name: the member
 * @error: PROTO_ERROR_BAD_MEMBER
 *
 * Return: the array, which belongs to @object, or NULL.
 */
JsonArray *member_array(JsonObject *object, const char *where, const char *name, GError **error)
{
    JsonNode *node = json_object_get_member(object, name);

    if (node && JSON_NODE_HOLDS_ARRAY(node))
        return json_node_get_array(node);
    set_error(error, where, name, node ? "not an array" : "missing");
    return NULL;
}

/**
 * element_string() - a string in an array
 * @array: the array
 * @index: below its length
 * @where: the array, for messages
 * @max_size: bytes that it may have; it must have one
 * @error: PROTO_ERROR_BAD_MEMBER
 *
 * Return: the string, which belongs to @array, or NULL.
 */
const char *element_string(JsonArray *array, guint index, const char *where, gsize max_size, GError **error)
{
    JsonNode *node = json_array_get_element(array, index);
    gsize size = 0;

    if (JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING)
        size = strlen(json_node_get_string(node));
    if (size >= 1 && size <= max_size)
        return json_node_get_string(node);
    g_set_error(error, PROTO_ERROR, PROTO_ERROR_BAD_MEMBER,
                "%s[%u]: not a string of 1 to %" G_GSIZE_FORMAT " bytes", where, index, max_size);
    return NULL;
}

/**
 * element_object() - an object in an array
 * @array: the array
 * @index: below its length
 * @where: the array, for messages
 * @error: PROTO_ERROR_BAD_MEMBER
 *
 * Return: the object, which belongs to @array, or NULL.
 */
JsonObject *element_object(JsonArray *array, guint index, const char *where, GError **error)
{
    JsonNode *node = json_array_get_element(array, index);

    if (JSON_NODE_HOLDS_OBJECT(node))
        return json_node_get_object(node);
    g_set_error(error, PROTO_ERROR, PROTO_ERROR_BAD_MEMBER, "%s[%u]: not an object", where, index);
    return NULL;
}
