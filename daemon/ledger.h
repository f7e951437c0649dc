/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "policy.h"
#include "util/log.h"
#include "util/peer.h"

#define LEDGER_MAX_TABLES_PER_PROCESS 8192u  /* 32 MiB of page tables */
#define LEDGER_MAX_TABLES_PER_CGROUP  16384u
#define LEDGER_MAX_TABLES             65536u /* 256 MiB */

typedef struct Ledger Ledger;
typedef struct Account Account;

Ledger *ledger_new(void);
void ledger_free(Ledger *ledger);
Account *ledger_open_account(Ledger *ledger, const Peer *peer, const char *cgroup);
guint ledger_users(Ledger *ledger, const char *cgroup);
guint ledger_count(const Ledger *ledger);
void account_close(Account *account);
LogBucket *account_log_bucket(Account *account);
guint64 account_pages(Account *account);
gboolean account_reserve(Account *account, const Policy *policy, guint64 held, guint64 pages, guint64 tables,
                         GError **error);
void account_give_back(Account *account, guint64 pages);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Ledger, ledger_free)
