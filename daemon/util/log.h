/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct LogBucket LogBucket;
struct LogBucket {
    guint capacity;   /* lines that may come at once */
    guint per_minute; /* lines that it gains per minute */
    double tokens;
    gint64 filled_at; /* monotonic time, us; 0: never used */
    guint dropped;    /* lines since the last one that was let through */
    LogBucket *parent; /* shared with others, or NULL */
};

#define LOG_BUCKET(cap, rate) ((LogBucket){ .capacity = (cap), .per_minute = (rate) })

void log_init(GLogLevelFlags lowest);
void log_set_level(GLogLevelFlags lowest);
gboolean log_level_from_name(const char *name, GLogLevelFlags *ret_level);
gboolean log_bucket_take(LogBucket *bucket, gint64 now);
gboolean log_bucket_is_full(LogBucket *bucket, gint64 now);

void log_agent(GLogLevelFlags level, const char *format, ...) G_GNUC_PRINTF(2, 3);
void log_guest(LogBucket *bucket, GLogLevelFlags level, const char *guest, pid_t pid, const char *format, ...)
    G_GNUC_PRINTF(5, 6);
