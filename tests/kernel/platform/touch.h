/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Touching memory that may raise SIGBUS. */
#pragma once

#include <signal.h>
#include <stdbool.h>

/*
 * Reads or writes a byte; returns whether that raised SIGBUS, and if so its siginfo, unless NULL. Each
 * thread can do so.
 */
bool touch(volatile char *byte, bool write, siginfo_t *info);

/* "BUS_MCEERR_AR, lsb 12" and the like. */
const char *siginfo_word(const siginfo_t *info);

/* Skips where the kernel does not know memory errors at all: SIGBUS is then an ordinary one. */
void need_memory_failure(void);
