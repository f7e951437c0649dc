/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The smallest guest there can be: one processor, one instruction. For x86 only. */
#pragma once

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>

#include "memory.h"

/* What is in its pages; the last three are its page tables. */
enum { GUEST_CODE, GUEST_DATA, GUEST_OTHER_DATA, GUEST_TABLES, GUEST_PAGES = GUEST_TABLES + 3 };

struct guest {
    struct area memory; /* from guest-physical address 0 */
    int vcpu;
    struct kvm_run *run;
};

/* A guest with memory of that kind; skips where there is no KVM. */
struct guest new_guest(enum kind kind);

/* Loads from or stores to a byte of a page, then halts. Returns what KVM_RUN did: 0 or an errno. */
int run_guest(struct guest *guest, size_t page, bool write);
