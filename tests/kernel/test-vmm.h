/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <json-glib/json-glib.h>

#define DEADLINE_MS 30000

/* A connection to the agent's VMM socket, as a VMM has it; this process is the VMM. */
typedef struct {
    int fd;
    gint64 id; /* of the last request */
} Vmm;

typedef struct {
    guint64 offset;
    guint64 length;
} VmmRecord;

Vmm *vmm_connect(const char *path);
void vmm_close(Vmm *vmm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Vmm, vmm_close)

/* One message out, with descriptors; one in. */
void vmm_send(Vmm *vmm, const char *json, const int *fds, guint n_fds);
void vmm_send_bytes(Vmm *vmm, const void *bytes, gsize size, const int *fds, guint n_fds);
gboolean vmm_try_send(Vmm *vmm, const char *json);
JsonObject *vmm_receive(Vmm *vmm);
void vmm_expect_eof(Vmm *vmm);
gboolean vmm_has_answer(Vmm *vmm);

/* A request and its answer, checked for the request's id. Arguments after json are for printf. */
JsonObject *vmm_call(Vmm *vmm, int fd, const char *type, const char *members, ...) G_GNUC_PRINTF(4, 5);
void vmm_call_ok(Vmm *vmm, int fd, const char *type, const char *members, ...) G_GNUC_PRINTF(4, 5);
void vmm_expect_error(JsonObject *answer, const char *code);
void vmm_hello(Vmm *vmm, const char *name, const char *uuid);
void vmm_request_poison(Vmm *vmm, const char *block, const VmmRecord *records, guint n);
JsonObject *vmm_poison(Vmm *vmm, const char *block, const VmmRecord *records, guint n);

int vmm_memfd(const void *content, gsize size, int seals);
int vmm_ranges_memfd(const VmmRecord *records, guint n);
