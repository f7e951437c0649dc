/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "test-vmm.h"

#ifndef EHWPOISON
#define EHWPOISON 133
#endif

typedef enum {
    RAM_ANONYMOUS,
    RAM_SHMEM,
    RAM_HUGETLB,
} RamKind;

/* Guest RAM of the test VMM, with the userfaultfd that it hands to the agent. */
typedef struct {
    char *address;
    gsize size;
    gsize page;
    RamKind kind;
    int memfd; /* or -1 */
    int uffd;
} Ram;

Ram *ram_new(RamKind kind, gsize pages);
void ram_free(Ram *ram);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Ram, ram_free)

void ram_fill(Ram *ram);
void ram_prepare(Ram *ram, gsize first, gsize pages);
void ram_release(Ram *ram, gsize first, gsize pages);
gboolean ram_is_poisoned(Ram *ram, gsize page);
gboolean ram_is_intact(Ram *ram, gsize page);
int ram_touch(Ram *ram, gsize page);

void ram_send_layout(Vmm *vmm, const Ram *ram, const char *block);
void ram_begin(Vmm *vmm, const Ram *ram, guint64 pages);
void ram_poison_second_page(Vmm *vmm, Ram *ram);
gboolean ram_kernel_can_poison(void);
