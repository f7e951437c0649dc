/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What each process was given
 *
 * Limits on poison hold for a process, not for a connection: a VMM can come back under a new one, and can tell
 * whatever it likes about its poison set. So an account is tied to a process (id and start time) and goes when
 * that process has exited.
 *
 * Pages are one thing that is limited; page tables are the other. UFFDIO_POISON allocates the tables that a page
 * needs, the kernel charges them to the one who calls it, and many kernels (6.12 is one) keep them for as long as
 * the VMM lives; others give empty ones back at MADV_DONTNEED (docs/platform.md), which the agent does not see.
 * One page in every 2 MiB of memory that costs the VMM nothing is a table each; so a VMM could use up what the
 * agent may have (MemoryMax=). What is counted is the regions (of 2 MiB, 1 GiB and 512 GiB) that each request
 * touches, the most tables that it can need, whatever the VMM says its memory is; none is ever given back, not
 * even for pages that could not be poisoned: the kernel may have made their tables before it gave up.
 *
 * A process is not all that a VMM can be: it can have children, each with its own account. So the processes
 * of one cgroup have a quarter of all regions together, and one bucket of log lines, which neither a new
 * connection nor a new process refills. libvirt and systemd put each guest in a cgroup of its own, which its
 * processes cannot leave; a user id would not do, as libvirt runs all guests as one. Guests that somebody
 * starts in one session have one share together: an honest guest needs a region for each bad page at most.
 *
 * Nor need the tables be where the process is: the userfaultfd can be that of another process's memory, say its
 * parent's, and nothing tells. So what a process leaves that has exited stays with its cgroup, which is the
 * one who could have that memory, until it has no processes. A cgroup can live long, with one guest
 * after the other; then it is the kernel that knows how much of it can still be there: no more than all page
 * tables that the agent is charged for. Where neither can be known (cgroup v1) it stays until the agent
 * restarts, which disturbs no guest.
 *
 * An account without a connection is looked at when the next one is opened, or when room is short: that takes
 * no timer and no descriptor. Reserving is done in workers, everything else in the main thread.
 */
#include "ledger.h"

#include "util/cgroup.h"
#include "util/proto-error.h"

#define SETTLED_US (10 * G_USEC_PER_SEC) /* by then the kernel's count has all of them */

#define LOOKED_AT 64u /* accounts at a time */

/*
 * A cgroup. It stays while it has accounts or tables, and then until its bucket is as good as that of a new
 * one.
 */
typedef struct {
    char *cgroup;
    guint accounts;
    guint users;    /* of these */
    guint64 tables; /* of its accounts, and left */
    guint64 left;   /* of processes that have exited */
    gint64 left_at; /* monotonic time when the last of them was forgotten */
    LogBucket bucket;
} Group;

struct Ledger {
    GMutex lock;
    GPtrArray *accounts; /* Account, owned */
    guint next_account;  /* to be looked at */
    GPtrArray *groups;   /* Group, owned */
    guint64 tables;      /* of all groups */
};

struct Account {
    Ledger *ledger;
    Group *group;
    Peer peer; /* without pidfd */
    guint users;
    guint64 pages;
    guint64 tables;
};

static void group_free(gpointer data)
{
    Group *group = data;

    g_free(group->cgroup);
    g_free(group);
}

/**
 * ledger_new() - a ledger without accounts
 */
Ledger *ledger_new(void)
{
    Ledger *ledger = g_new0(Ledger, 1);

    g_mutex_init(&ledger->lock);
    ledger->accounts = g_ptr_array_new_with_free_func(g_free);
    ledger->groups = g_ptr_array_new_with_free_func(group_free);
    return ledger;
}

/**
 * ledger_free() - free a ledger and its accounts
 * @ledger: a ledger whose accounts nobody uses, or NULL
 */
void ledger_free(Ledger *ledger)
{
    if (!ledger)
        return;
    g_ptr_array_unref(ledger->accounts);
    g_ptr_array_unref(ledger->groups);
    g_mutex_clear(&ledger->lock);
    g_free(ledger);
}

/**
 * ledger_count() - number of accounts
 * @ledger: the ledger
 */
guint ledger_count(const Ledger *ledger)
{
    return ledger->accounts->len;
}

static void forget(Ledger *ledger, guint index)
{
    const Account *account = g_ptr_array_index(ledger->accounts, index);

    if (account->tables > 0)
        account->group->left_at = g_get_monotonic_time();
    account->group->left += account->tables;
    account->group->accounts--;
    g_ptr_array_remove_index_fast(ledger->accounts, index);
}

/* Looks at some accounts, and at the next ones the next time: there can be thousands, which children left behind. */
static void forget_dead(Ledger *ledger)
{
    for (guint n = MIN(ledger->accounts->len, LOOKED_AT); n > 0; n--) {
        guint index = ledger->next_account % ledger->accounts->len;
        const Account *account = g_ptr_array_index(ledger->accounts, index);

        if (account->users == 0 && !peer_alive(&account->peer))
            forget(ledger, index); /* another one is there now */
        else
            ledger->next_account = index + 1;
    }
}

/* How many of the tables that are left in a cgroup can still be there? */
static guint64 most_left(const Group *group, gint64 now)
{
    if (group->left == 0 || cgroup_is_empty(group->cgroup))
        return 0;
    return now - group->left_at < SETTLED_US ? group->left : MIN(group->left, cgroup_own_tables());
}

static void settle(Ledger *ledger, Group *group, gint64 now)
{
    guint64 gone = group->left - most_left(group, now);

    group->left -= gone;
    group->tables -= gone;
    ledger->tables -= gone;
}

static void settle_groups(Ledger *ledger)
{
    gint64 now = g_get_monotonic_time();

    for (guint i = ledger->groups->len; i > 0; i--) {
        Group *group = g_ptr_array_index(ledger->groups, i - 1);

        settle(ledger, group, now);
        if (group->accounts == 0 && group->left == 0 && log_bucket_is_full(&group->bucket, now))
            g_ptr_array_remove_index_fast(ledger->groups, i - 1);
    }
}

static Group *find_group(const Ledger *ledger, const char *cgroup)
{
    for (guint i = 0; i < ledger->groups->len; i++) {
        Group *group = g_ptr_array_index(ledger->groups, i);

        if (g_str_equal(group->cgroup, cgroup))
            return group;
    }
    return NULL;
}

static Group *group_of(Ledger *ledger, const char *cgroup)
{
    Group *group = find_group(ledger, cgroup);

    if (group)
        return group;
    group = g_new0(Group, 1);
    group->cgroup = g_strdup(cgroup);
    group->bucket = LOG_BUCKET(100, 60);
    g_ptr_array_add(ledger->groups, group);
    return group;
}

static Account *account_new(Ledger *ledger, const Peer *peer, const char *cgroup)
{
    Account *account = g_new0(Account, 1);

    account->ledger = ledger;
    account->peer = *peer;
    account->peer.pidfd = -1;
    account->group = group_of(ledger, cgroup);
    account->group->accounts++;
    g_ptr_array_add(ledger->accounts, account);
    return account;
}

static Account *find(Ledger *ledger, const Peer *peer)
{
    for (guint i = 0; i < ledger->accounts->len; i++) {
        Account *account = g_ptr_array_index(ledger->accounts, i);

        if (peer_same_process(&account->peer, peer))
            return account;
    }
    return NULL;
}

/**
 * ledger_open_account() - the account of a process
 * @ledger: the ledger
 * @peer: the process
 * @cgroup: where it is; see peer_cgroup()
 *
 * Return: its account, for account_close().
 */
Account *ledger_open_account(Ledger *ledger, const Peer *peer, const char *cgroup)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&ledger->lock);
    Account *account;

    forget_dead(ledger);
    settle_groups(ledger);
    account = find(ledger, peer);
    if (!account)
        account = account_new(ledger, peer, cgroup);
    account->users++;
    account->group->users++;
    return account;
}

/**
 * ledger_users() - how many accounts of a cgroup are open, each as often as it was opened
 * @ledger: the ledger
 * @cgroup: see peer_cgroup()
 */
guint ledger_users(Ledger *ledger, const char *cgroup)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&ledger->lock);
    const Group *group = find_group(ledger, cgroup);

    return group ? group->users : 0;
}

/**
 * account_close() - use an account no longer
 * @account: the account, or NULL; stays in the ledger if there is something in it
 */
void account_close(Account *account)
{
    g_autoptr(GMutexLocker) locker = NULL;
    guint index;

    if (!account)
        return;
    locker = g_mutex_locker_new(&account->ledger->lock);
    account->group->users--;
    if (--account->users == 0 && account->pages == 0 && account->tables == 0 &&
        g_ptr_array_find(account->ledger->accounts, account, &index))
        forget(account->ledger, index);
}

/**
 * account_pages() - pages that the process was given
 * @account: the account, or NULL
 */
guint64 account_pages(Account *account)
{
    g_autoptr(GMutexLocker) locker = account ? g_mutex_locker_new(&account->ledger->lock) : NULL;

    return account ? account->pages : 0;
}

/**
 * account_log_bucket() - the log lines of the process's cgroup
 * @account: the account; the bucket is there for as long as it is open
 */
LogBucket *account_log_bucket(Account *account)
{
    return &account->group->bucket;
}

/* Is there room beside what others have? */
static gboolean have_room(const Account *account, guint64 tables)
{
    return tables <= LEDGER_MAX_TABLES_PER_CGROUP - account->group->tables &&
           tables <= LEDGER_MAX_TABLES - account->ledger->tables;
}

static gboolean check_tables(const Account *account, guint64 tables, GError **error)
{
    if (tables <= LEDGER_MAX_TABLES_PER_PROCESS - account->tables && have_room(account, tables))
        return TRUE;
    g_set_error(error, PROTO_ERROR, PROTO_ERROR_POLICY_PAGES,
                "policy: pages in %" G_GUINT64_FORMAT " more regions, the process has %" G_GUINT64_FORMAT
                " of at most %u, its cgroup %" G_GUINT64_FORMAT " of at most %u, all have %" G_GUINT64_FORMAT
                " of at most %u",
                tables, account->tables, LEDGER_MAX_TABLES_PER_PROCESS, account->group->tables,
                LEDGER_MAX_TABLES_PER_CGROUP, account->ledger->tables, LEDGER_MAX_TABLES);
    return FALSE;
}

/**
 * account_reserve() - give pages to a process, if limits allow
 * @account: the account
 * @policy: has the limit of pages
 * @held: pages that the guest is known to have, as far as that is more than the account's
 * @pages: base pages to come
 * @tables: regions that they are in; see ranges_check()
 * @error: PROTO_ERROR_POLICY_PAGES
 *
 * Safe in any thread.
 */
gboolean account_reserve(Account *account, const Policy *policy, guint64 held, guint64 pages, guint64 tables,
                         GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&account->ledger->lock);

    if (!have_room(account, tables)) {
        forget_dead(account->ledger);
        settle_groups(account->ledger);
    }
    if (!policy_check_pages(policy, MAX(held, account->pages), pages, error) ||
        !check_tables(account, tables, error))
        return FALSE;
    account->pages += pages;
    account->tables += tables;
    account->group->tables += tables;
    account->ledger->tables += tables;
    return TRUE;
}

/**
 * account_give_back() - pages were not poisoned after all
 * @account: the account
 * @pages: how many of those reserved
 *
 * Their tables may be there. Safe in any thread.
 */
void account_give_back(Account *account, guint64 pages)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&account->ledger->lock);

    account->pages -= pages;
}
