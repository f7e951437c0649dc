/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "layout.h"
#include "ranges.h"
#include "vmm-protocol.h"

void poison_ranges(int uffd, const RamBlock *block, const Range *ranges, guint n, VmmPoisoned *ret_result);
