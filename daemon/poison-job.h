/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "layout.h"
#include "ledger.h"
#include "policy.h"
#include "vmm-protocol.h"

typedef struct PoisonJob PoisonJob;
typedef void (*PoisonJobDone)(PoisonJob *job, gpointer user_data);

/* A poison request on its way through a worker; see poison-job.c for who may touch what. */
struct PoisonJob {
    int sock;     /* where the answer goes; not owned */
    int uffd;     /* not owned */
    int memfd;    /* owned */
    gint64 id;    /* of the request */
    guint count;  /* of records in the memfd */
    guint64 held; /* pages that the guest has already */
    Account *account; /* of the VMM's process; not owned */
    Policy policy;
    RamBlock block; /* a copy; owned */
    PoisonJobDone done;
    gpointer user_data;

    GError *error; /* the request was refused, or NULL: result is valid */
    VmmPoisoned result;
    gboolean answered; /* the whole answer was taken by the socket */
};

typedef struct PoisonPool PoisonPool;

PoisonPool *poison_pool_new(guint max_threads, GError **error);
void poison_pool_allow(PoisonPool *pool, guint max_threads);
void poison_pool_free(PoisonPool *pool);
PoisonJob *poison_job_new(const RamBlock *block);
void poison_job_free(PoisonJob *job);
void poison_pool_submit(PoisonPool *pool, PoisonJob *job);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(PoisonJob, poison_job_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PoisonPool, poison_pool_free)
