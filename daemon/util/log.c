/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The agent's log
 *
 * Two kinds of lines. log_agent() is for what the agent or its operator does. log_guest() is for
 * what a VMM causes: it carries the guest's name and process id as journal fields of their own
 * (HWPOISOND_GUEST, HWPOISOND_PID), makes the text printable, and is rationed, since a hostile VMM
 * can cause lines as fast as it can send. Each connection has a small bucket of lines, the connections of a
 * cgroup share another (ledger.c), as a VMM can come back under a new connection and in a new process, and
 * all together share a larger one. A line that did not fit is counted, and the next one that does says how
 * many are missing.
 *
 * Lines go to the journal if stderr is connected to it, else to stderr as text. It is written to by a socket
 * that is opened once: GLib's own writer opens one for each line, by calls that the agent denies itself
 * (sandbox.c). No timer is involved: a bucket is refilled when it is asked.
 */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "text.h"

static gint arg_lowest = G_LOG_LEVEL_INFO; /* atomic: GLib may log in any thread */
static LogBucket all_guests = { .capacity = 200, .per_minute = 300 };
static int journal_fd = -1;

static const struct {
    const char *name;
    GLogLevelFlags level;
} levels[] = {
    { "error", G_LOG_LEVEL_CRITICAL },
    { "warning", G_LOG_LEVEL_WARNING },
    { "info", G_LOG_LEVEL_INFO },
    { "debug", G_LOG_LEVEL_DEBUG },
};

static const char *level_name(GLogLevelFlags level)
{
    for (guint i = 0; i < G_N_ELEMENTS(levels); i++)
        if (levels[i].level == level)
            return levels[i].name;
    return "error";
}

static const char *field(const GLogField *fields, gsize n_fields, const char *key)
{
    for (gsize i = 0; i < n_fields; i++)
        if (strcmp(fields[i].key, key) == 0 && fields[i].length < 0)
            return fields[i].value;
    return NULL;
}

/* An entry of the journal: each field as its key, a line feed, its length, its value, a line feed. */
static gboolean send_to_journal(const GLogField *fields, gsize n_fields)
{
    g_autoptr(GString) entry = g_string_new(NULL);

    for (gsize i = 0; i < n_fields; i++) {
        gsize length = fields[i].length < 0 ? strlen(fields[i].value) : (gsize)fields[i].length;
        guint64 le = GUINT64_TO_LE((guint64)length);

        g_string_append_printf(entry, "%s\n", fields[i].key);
        g_string_append_len(entry, (const char *)&le, sizeof(le));
        g_string_append_len(entry, fields[i].value, (gssize)length);
        g_string_append_c(entry, '\n');
    }
    return send(journal_fd, entry->str, entry->len, MSG_NOSIGNAL) >= 0;
}

static GLogWriterOutput write_line(GLogLevelFlags level, const GLogField *fields, gsize n_fields,
                                   gpointer user_data)
{
    const char *message = field(fields, n_fields, "MESSAGE");

    level &= G_LOG_LEVEL_MASK;
    if ((gint)level > g_atomic_int_get(&arg_lowest))
        return G_LOG_WRITER_HANDLED;
    if (journal_fd >= 0 && send_to_journal(fields, n_fields))
        return G_LOG_WRITER_HANDLED;
    fprintf(stderr, "hwpoisond: %s: %s\n", level_name(level), message ? message : "");
    return G_LOG_WRITER_HANDLED;
}

/* Connects to the journal, if stderr is. */
static void open_journal(void)
{
    static const struct sockaddr_un address = { .sun_family = AF_UNIX,
                                                .sun_path = "/run/systemd/journal/socket" };

    if (!g_log_writer_is_journald(STDERR_FILENO))
        return;
    journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (journal_fd < 0 || connect(journal_fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return;
    close(journal_fd);
    journal_fd = -1;
}

/**
 * log_init() - send all of GLib's logging our way
 * @lowest: least important level to show
 *
 * To be called once, before the first line.
 */
void log_init(GLogLevelFlags lowest)
{
    log_set_level(lowest);
    open_journal();
    g_log_set_writer_func(write_line, NULL, NULL);
}

/**
 * log_set_level() - show more or fewer lines from now on
 * @lowest: least important level to show
 */
void log_set_level(GLogLevelFlags lowest)
{
    g_atomic_int_set(&arg_lowest, (gint)lowest);
}

/**
 * log_level_from_name() - level of the configuration's words
 * @name: "error", "warning", "info" or "debug"
 * @ret_level: where to put it
 */
gboolean log_level_from_name(const char *name, GLogLevelFlags *ret_level)
{
    for (guint i = 0; i < G_N_ELEMENTS(levels); i++) {
        if (strcmp(levels[i].name, name) == 0) {
            *ret_level = levels[i].level;
            return TRUE;
        }
    }
    return FALSE;
}

static void fill(LogBucket *bucket, gint64 now)
{
    double gained = (double)(now - bucket->filled_at) * bucket->per_minute / (60.0 * G_USEC_PER_SEC);

    if (bucket->filled_at == 0)
        bucket->tokens = bucket->capacity;
    else
        bucket->tokens = MIN(bucket->tokens + gained, bucket->capacity);
    bucket->filled_at = now;
}

/**
 * log_bucket_is_full() - is it as good as a new one?
 * @bucket: from LOG_BUCKET(), in use by nobody
 * @now: monotonic time in microseconds, above 0
 */
gboolean log_bucket_is_full(LogBucket *bucket, gint64 now)
{
    fill(bucket, now);
    return bucket->tokens >= bucket->capacity;
}

/**
 * log_bucket_take() - may one more line be written?
 * @bucket: from LOG_BUCKET()
 * @now: monotonic time in microseconds, above 0
 */
gboolean log_bucket_take(LogBucket *bucket, gint64 now)
{
    fill(bucket, now);
    if (bucket->tokens < 1) {
        bucket->dropped++;
        return FALSE;
    }
    bucket->tokens -= 1;
    return TRUE;
}

static LogBucket *parent_of(const LogBucket *bucket)
{
    if (bucket == &all_guests)
        return NULL;
    return bucket->parent ? bucket->parent : &all_guests;
}

/* Each bucket on the way must have room; returns how many lines were lost before this one, or -1. */
static int take_from_all(LogBucket *bucket)
{
    gint64 now = g_get_monotonic_time();
    guint dropped = 0;

    for (LogBucket *b = bucket; b; b = parent_of(b))
        if (!log_bucket_take(b, now))
            return -1;
    for (LogBucket *b = bucket; b; b = parent_of(b)) {
        dropped += b->dropped;
        b->dropped = 0;
    }
    return (int)MIN(dropped, G_MAXINT);
}

/**
 * log_agent() - a line about the agent itself
 * @level: G_LOG_LEVEL_ and a name from the table above
 * @format: printf-like
 */
void log_agent(GLogLevelFlags level, const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list args;

    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    g_log_structured("hwpoisond", level, "MESSAGE", "%s", message);
}

/* It stands in quotes: one of its own would let a name end early, and go on like a line of another guest. */
static char *printable_name(const char *guest)
{
    g_autofree char *plain = text_printable(guest);
    g_auto(GStrv) parts = g_strsplit(plain, "'", -1);

    return g_strjoinv("\\x27", parts);
}

/**
 * log_guest() - a line that a VMM caused
 * @bucket: of its connection
 * @level: as for log_agent()
 * @guest: what to call the guest, as it came from the VMM
 * @pid: of the VMM
 * @format: printf-like; the result may hold text from the VMM
 *
 * In the main thread only.
 */
void log_guest(LogBucket *bucket, GLogLevelFlags level, const char *guest, pid_t pid, const char *format, ...)
{
    g_autofree char *raw = NULL, *message = NULL, *name = NULL;
    g_autofree char *number = g_strdup_printf("%d", (int)pid);
    va_list args;
    int dropped;

    if ((gint)level > g_atomic_int_get(&arg_lowest))
        return;
    dropped = take_from_all(bucket);
    if (dropped < 0)
        return;
    va_start(args, format);
    raw = g_strdup_vprintf(format, args);
    va_end(args);
    message = text_printable(raw);
    name = printable_name(guest);
    if (dropped > 0)
        log_agent(G_LOG_LEVEL_WARNING, "%d lines caused by VMMs were not logged", dropped);
    g_log_structured("hwpoisond", level, "HWPOISOND_GUEST", name, "HWPOISOND_PID", number, "MESSAGE",
                     "guest '%s' (pid %d): %s", name, (int)pid, message);
}
