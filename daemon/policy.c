/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What this host allows
 *
 * The operator's two questions: how much poison may one guest carry here, and in what kinds of
 * memory. Both are asked before anything is done, the first one already at poison-begin, so that a
 * migration can be refused before its RAM is sent.
 */
#include "policy.h"

#include "util/proto-error.h"

/**
 * policy_check_pages() - may a guest get more poisoned pages?
 * @policy: the policy
 * @held: pages that the guest has already, as far as the agent knows
 * @wanted: pages to come
 * @error: PROTO_ERROR_POLICY_PAGES
 */
gboolean policy_check_pages(const Policy *policy, guint64 held, guint64 wanted, GError **error)
{
    guint64 max = policy->max_pages_per_guest;

    if (held <= max && wanted <= max - held)
        return TRUE;
    g_set_error(error, PROTO_ERROR, PROTO_ERROR_POLICY_PAGES,
                "policy: %" G_GUINT64_FORMAT " more pages, the guest has %" G_GUINT64_FORMAT
                ", at most %" G_GUINT64_FORMAT " are allowed",
                wanted, held, max);
    return FALSE;
}

/**
 * policy_check_kind() - may memory of this kind be poisoned?
 * @policy: the policy
 * @block: the block to be poisoned
 * @error: PROTO_ERROR_POLICY_KIND
 */
gboolean policy_check_kind(const Policy *policy, const RamBlock *block, GError **error)
{
    if (policy->memory_kinds & 1u << block->kind)
        return TRUE;
    g_set_error(error, PROTO_ERROR, PROTO_ERROR_POLICY_KIND,
                "policy: block '%s' is of kind %s, which is not allowed", block->name,
                memory_kind_name(block->kind));
    return FALSE;
}
