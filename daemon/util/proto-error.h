/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

/* The error codes of both sockets; see proto-error.c for their names on the wire. */
typedef enum {
    PROTO_ERROR_BAD_FRAME,
    PROTO_ERROR_BAD_JSON,
    PROTO_ERROR_TOO_MANY_FDS,
    PROTO_ERROR_UNKNOWN_TYPE,
    PROTO_ERROR_UNEXPECTED_FD,
    PROTO_ERROR_MISSING_FD,
    PROTO_ERROR_NOT_USERFAULTFD,
    PROTO_ERROR_NOT_SEALED_MEMFD,
    PROTO_ERROR_BAD_STATE,
    PROTO_ERROR_BAD_MEMBER,
    PROTO_ERROR_VERSION,
    PROTO_ERROR_IDENTITY_IN_USE,
    PROTO_ERROR_BAD_LAYOUT,
    PROTO_ERROR_UNKNOWN_BLOCK,
    PROTO_ERROR_RANGE_UNALIGNED,
    PROTO_ERROR_RANGE_EMPTY,
    PROTO_ERROR_RANGE_OVERLAP,
    PROTO_ERROR_RANGE_OUTSIDE_BLOCK,
    PROTO_ERROR_BAD_COUNT,
    PROTO_ERROR_POLICY_PAGES,
    PROTO_ERROR_POLICY_KIND,
    PROTO_ERROR_INTERNAL,
    PROTO_ERROR_NO_SUCH_GUEST,
    PROTO_ERROR_AMBIGUOUS_GUEST,
    PROTO_ERROR_COUNT_,
} ProtoError;

#define PROTO_ERROR (proto_error_quark())
GQuark proto_error_quark(void);

const char *proto_error_code(ProtoError error);
gboolean proto_error_is_fatal(ProtoError error);
ProtoError proto_error_of(const GError *error);
