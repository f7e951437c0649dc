/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits per process and per cgroup: what is counted, what is given back, and when an account goes
 */
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ledger.h"
#include "util/proto-error.h"

static const Policy policy = { .max_pages_per_guest = 10 };

static Peer process(pid_t pid, guint64 start_time)
{
    return (Peer){ .pid = pid, .start_time = start_time, .pidfd = -1 };
}

static Peer self(void)
{
    Peer peer = process(getpid(), 0);

    g_assert_cmpint(peer_start_time(getpid(), &peer.start_time), ==, 0);
    return peer;
}

static void test_pages(void)
{
    g_autoptr(Ledger) ledger = ledger_new();
    g_autoptr(GError) error = NULL;
    Peer peer = self();
    Account *account = ledger_open_account(ledger, &peer, "a");

    g_assert_true(account_reserve(account, &policy, 0, 8, 1, NULL));
    g_assert_false(account_reserve(account, &policy, 0, 3, 1, &error));
    g_assert_error(error, PROTO_ERROR, PROTO_ERROR_POLICY_PAGES);
    account_give_back(account, 4);
    g_assert_cmpuint(account_pages(account), ==, 4);
    g_assert_false(account_reserve(account, &policy, 9, 3, 1, NULL)); /* the guest tells more */
    g_assert_true(account_reserve(account, &policy, 5, 5, 1, NULL));
    account_close(account);
    account = ledger_open_account(ledger, &peer, "a"); /* a reconnect */
    g_assert_cmpuint(account_pages(account), ==, 9);
    account_close(account);
}

#define GONE    "1 /no/such/cgroup/" /* cgroup_is_empty() */
#define UNKNOWN "0::/"

/* Accounts of as many processes that are gone; so many of them after each other are in one cgroup. */
static void open_accounts(Ledger *ledger, Account **accounts, guint n, const char *where, guint per_cgroup)
{
    for (guint i = 0; i < n; i++) {
        g_autofree char *cgroup = g_strdup_printf("%s%u", where, i / per_cgroup);
        Peer peer = process(getpid(), i + 1);

        accounts[i] = ledger_open_account(ledger, &peer, cgroup);
    }
}

static void test_tables(void)
{
    g_autoptr(Ledger) ledger = ledger_new();
    g_autoptr(GError) error = NULL;
    Account *accounts[9];

    open_accounts(ledger, accounts, G_N_ELEMENTS(accounts), GONE, 2);
    g_assert_false(account_reserve(accounts[0], &policy, 0, 1, LEDGER_MAX_TABLES_PER_PROCESS + 1, NULL));
    for (guint i = 0; i < 8; i++)
        g_assert_true(account_reserve(accounts[i], &policy, 0, 1, LEDGER_MAX_TABLES_PER_PROCESS, NULL));
    g_assert_false(account_reserve(accounts[8], &policy, 0, 1, 1, &error)); /* all together */
    g_assert_error(error, PROTO_ERROR, PROTO_ERROR_POLICY_PAGES);
    for (guint i = 0; i < 8; i++)
        account_close(accounts[i]);
    g_assert_true(account_reserve(accounts[8], &policy, 0, 1, 1, NULL)); /* those cgroups are gone */
    g_assert_cmpuint(ledger_count(ledger), ==, 1);
    account_close(accounts[8]);
}

/* Children of one VMM use up the share of its cgroup, not what others need. */
static void test_cgroup(void)
{
    g_autoptr(Ledger) ledger = ledger_new();
    g_autoptr(GError) error = NULL;
    Account *accounts[4];

    open_accounts(ledger, accounts, G_N_ELEMENTS(accounts), UNKNOWN, 3);
    for (guint i = 0; i < 2; i++)
        g_assert_true(account_reserve(accounts[i], &policy, 0, 1, LEDGER_MAX_TABLES_PER_PROCESS, NULL));
    g_assert_false(account_reserve(accounts[2], &policy, 0, 1, 1, &error));
    g_assert_error(error, PROTO_ERROR, PROTO_ERROR_POLICY_PAGES);
    g_assert_true(account_reserve(accounts[3], &policy, 0, 1, LEDGER_MAX_TABLES_PER_PROCESS, NULL));
    account_close(accounts[0]);
    g_assert_false(account_reserve(accounts[2], &policy, 0, 1, 1, NULL)); /* that child is gone, its parent not */
    g_assert_cmpuint(ledger_count(ledger), ==, 3);
    for (guint i = 1; i < 4; i++)
        account_close(accounts[i]);
}

/* Neither a new connection nor a new process has lines that its cgroup has used. */
static void test_log_bucket(void)
{
    g_autoptr(Ledger) ledger = ledger_new();
    Peer first = process(getpid(), 1), second = process(getpid(), 2);
    Account *account = ledger_open_account(ledger, &first, "a");
    gint64 now = g_get_monotonic_time();
    guint lines = 0;

    while (log_bucket_take(account_log_bucket(account), now))
        lines++;
    g_assert_cmpuint(lines, ==, 100);
    account_close(account);
    account = ledger_open_account(ledger, &second, "a");
    g_assert_false(log_bucket_take(account_log_bucket(account), now));
    account_close(account);
    account = ledger_open_account(ledger, &second, "b");
    g_assert_true(log_bucket_take(account_log_bucket(account), now));
    account_close(account);
}

/* An account with something in it stays for as long as its process lives, an empty one does not. */
static void test_lifetime(void)
{
    g_autoptr(Ledger) ledger = ledger_new();
    Peer alive = self(), dead = process(getpid(), 1);
    Account *a = ledger_open_account(ledger, &alive, "a"), *b = ledger_open_account(ledger, &dead, "a");

    account_close(b);
    g_assert_cmpuint(ledger_count(ledger), ==, 1);
    b = ledger_open_account(ledger, &dead, "a");
    g_assert_true(account_reserve(a, &policy, 0, 1, 1, NULL));
    g_assert_true(account_reserve(b, &policy, 0, 1, 1, NULL));
    account_close(a);
    account_close(b);
    g_assert_cmpuint(ledger_count(ledger), ==, 2);
    a = ledger_open_account(ledger, &alive, "a");
    g_assert_cmpuint(ledger_count(ledger), ==, 1);
    g_assert_cmpuint(account_pages(a), ==, 1);
    account_close(a);
}

/* Thousands of accounts that wait to be looked at do not make one connection wait for all of that. */
static void test_many(void)
{
    g_autoptr(Ledger) ledger = ledger_new();
    Account *accounts[1000];

    open_accounts(ledger, accounts, G_N_ELEMENTS(accounts), UNKNOWN, 1);
    for (guint i = 0; i < G_N_ELEMENTS(accounts); i++) {
        g_assert_true(account_reserve(accounts[i], &policy, 0, 1, 1, NULL));
        account_close(accounts[i]);
    }
    g_assert_cmpuint(ledger_count(ledger), ==, 1000);
    account_close(ledger_open_account(ledger, &(Peer){ .pid = 1, .pidfd = -1 }, "a"));
    g_assert_cmpuint(ledger_count(ledger), <, 1000);
    g_assert_cmpuint(ledger_count(ledger), >, 900);
    for (guint i = 0; i < 16; i++)
        account_close(ledger_open_account(ledger, &(Peer){ .pid = 1, .pidfd = -1 }, "a"));
    g_assert_cmpuint(ledger_count(ledger), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ledger/pages", test_pages);
    g_test_add_func("/ledger/tables", test_tables);
    g_test_add_func("/ledger/cgroup", test_cgroup);
    g_test_add_func("/ledger/log-bucket", test_log_bucket);
    g_test_add_func("/ledger/lifetime", test_lifetime);
    g_test_add_func("/ledger/many", test_many);
    return g_test_run();
}
