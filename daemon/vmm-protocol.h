/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <json-glib/json-glib.h>

#include "layout.h"
#include "poison-set.h"

#define VMM_PROTOCOL_VERSION 1
#define VMM_MAX_SET_RANGES   4096u
#define VMM_MAX_FAILURES     64u
#define VMM_MAX_UNREACHED    64u /* vhost-user backends in a poison-end */
#define VMM_HELLO_WORDS      64u /* most in a message before hello; hello has 29 */

typedef enum {
    VMM_HELLO,
    VMM_LAYOUT,
    VMM_POISON_BEGIN,
    VMM_POISON,
    VMM_POISON_END,
    VMM_POISON_SET,
    VMM_TYPE_COUNT_,
} VmmType;

/* One request. Strings belong to the root node. */
typedef struct {
    JsonNode *root;
    gint64 id; /* 0 while unknown */
    VmmType type;
} VmmRequest;

typedef struct {
    const char *vmm, *vmm_version, *name, *uuid;
} VmmHello;

typedef struct {
    const char *block;
    guint count;
} VmmPoison;

/* What came of a poison request. */
typedef struct {
    guint32 index;
    int errnum; /* positive */
    guint64 done;
} VmmFailure;

typedef struct {
    guint ranges;
    guint failed_count;
    VmmFailure failed[VMM_MAX_FAILURES];
    guint64 bytes_done;
    guint64 pages_done;
    guint64 pages_failed;
} VmmPoisoned;

gboolean vmm_request_parse(VmmRequest *request, const char *body, gsize size, guint max_words, GError **error);
void vmm_request_clear(VmmRequest *request);
gboolean vmm_parse_hello(const VmmRequest *request, VmmHello *ret_hello, GError **error);
Layout *vmm_parse_layout(const VmmRequest *request, GError **error);
gboolean vmm_parse_begin(const VmmRequest *request, guint64 *ret_pages, GError **error);
gboolean vmm_parse_poison(const VmmRequest *request, VmmPoison *ret_poison, GError **error);
gboolean vmm_parse_end(const VmmRequest *request, char **ret_unreached, GError **error);
GArray *vmm_parse_set(const VmmRequest *request, const Layout *layout, gboolean *ret_replace, GError **error);

char *vmm_answer_hello(gint64 id, gboolean can_poison, guint64 max_pages);
char *vmm_answer_ok(gint64 id);
char *vmm_answer_error(gint64 id, const GError *error);
char *vmm_answer_poisoned(gint64 id, const VmmPoisoned *poisoned);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmmRequest, vmm_request_clear)
