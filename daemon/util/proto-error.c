/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors of the protocols
 *
 * Whatever a peer does wrong is reported to it as a code and a message (docs/vmm-protocol.md,
 * docs/control-protocol.md). Inside the agent that pair is a GError of the domain PROTO_ERROR:
 * its code is a ProtoError, its message the text for the peer. Parsers, checks and policy raise
 * such an error where they find the fault; only the server that owns the connection turns it into
 * an answer, counts it and logs it, once.
 *
 * Failures of system calls are negative errno values and never cross a socket as such: the place
 * that meets one decides which PROTO_ERROR the peer is to see.
 */
#include "proto-error.h"

G_DEFINE_QUARK(hwpoisond - proto - error, proto_error)

static const char *const codes[] = {
    [PROTO_ERROR_BAD_FRAME] = "bad-frame",
    [PROTO_ERROR_BAD_JSON] = "bad-json",
    [PROTO_ERROR_TOO_MANY_FDS] = "too-many-fds",
    [PROTO_ERROR_UNKNOWN_TYPE] = "unknown-type",
    [PROTO_ERROR_UNEXPECTED_FD] = "unexpected-fd",
    [PROTO_ERROR_MISSING_FD] = "missing-fd",
    [PROTO_ERROR_NOT_USERFAULTFD] = "not-userfaultfd",
    [PROTO_ERROR_NOT_SEALED_MEMFD] = "not-sealed-memfd",
    [PROTO_ERROR_BAD_STATE] = "bad-state",
    [PROTO_ERROR_BAD_MEMBER] = "bad-member",
    [PROTO_ERROR_VERSION] = "version",
    [PROTO_ERROR_IDENTITY_IN_USE] = "identity-in-use",
    [PROTO_ERROR_BAD_LAYOUT] = "bad-layout",
    [PROTO_ERROR_UNKNOWN_BLOCK] = "unknown-block",
    [PROTO_ERROR_RANGE_UNALIGNED] = "range-unaligned",
    [PROTO_ERROR_RANGE_EMPTY] = "range-empty",
    [PROTO_ERROR_RANGE_OVERLAP] = "range-overlap",
    [PROTO_ERROR_RANGE_OUTSIDE_BLOCK] = "range-outside-block",
    [PROTO_ERROR_BAD_COUNT] = "bad-count",
    [PROTO_ERROR_POLICY_PAGES] = "policy-pages",
    [PROTO_ERROR_POLICY_KIND] = "policy-kind",
    [PROTO_ERROR_INTERNAL] = "internal",
    [PROTO_ERROR_NO_SUCH_GUEST] = "no-such-guest",
    [PROTO_ERROR_AMBIGUOUS_GUEST] = "ambiguous-guest",
};
G_STATIC_ASSERT(G_N_ELEMENTS(codes) == PROTO_ERROR_COUNT_);

/**
 * proto_error_code() - name of an error on the wire
 * @error: the error
 *
 * Return: a static string such as "bad-frame".
 */
const char *proto_error_code(ProtoError error)
{
    g_return_val_if_fail((guint)error < PROTO_ERROR_COUNT_, "internal");
    return codes[error];
}

/**
 * proto_error_is_fatal() - does the connection end after this error?
 * @error: the error
 *
 * The four cases in which the agent can no longer tell where a message ends, or whom it talks to.
 */
gboolean proto_error_is_fatal(ProtoError error)
{
    return error == PROTO_ERROR_BAD_FRAME || error == PROTO_ERROR_BAD_JSON ||
           error == PROTO_ERROR_TOO_MANY_FDS || error == PROTO_ERROR_IDENTITY_IN_USE;
}

/**
 * proto_error_of() - the protocol error in a GError
 * @error: any error; one of another domain counts as PROTO_ERROR_INTERNAL
 */
ProtoError proto_error_of(const GError *error)
{
    return error->domain == PROTO_ERROR ? (ProtoError)error->code : PROTO_ERROR_INTERNAL;
}
