/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is said about a behaviour; see report.h. */
#include "report.h"

#include <stdio.h>
#include <string.h>

static const char *const verdict_names[] = { "good", "not on this kernel", "bad", "skipped" };

const char *shown_name(const struct behaviour *behaviour)
{
    static char name[64];

    snprintf(name, sizeof(name), "%s", behaviour->name);
    for (char *p = name; *p; p++)
        if (*p == '_')
            *p = '-';
    return name;
}

static enum verdict judge(const struct behaviour *behaviour, int ended, const struct seen *what)
{
    if (ended == LOOK_SKIPPED)
        return SKIPPED;
    if (ended == LOOK_DONE && (!behaviour->needed || strcmp(what->word, behaviour->needed) == 0))
        return GOOD;
    if (ended == LOOK_DONE && behaviour->when == WHEN_PATCHED && !platform_options.patched)
        return NOT_HERE;
    return BAD;
}

static void print_text(const struct behaviour *behaviour, enum verdict verdict, const struct seen *what)
{
    printf("%s: %s (", shown_name(behaviour), what->word);
    if (behaviour->needed)
        printf("needed: %s", behaviour->needed);
    else
        printf("informative");
    printf(")%s%s\n", verdict == GOOD ? "" : ": ", verdict == GOOD ? "" : verdict_names[verdict]);
}

static void print_tap(const struct behaviour *behaviour, enum verdict verdict, const struct seen *what)
{
    static int number;

    printf("%sok %d /%s", verdict == BAD ? "not " : "", ++number, shown_name(behaviour));
    if (verdict == BAD)
        printf(" - %s (needed: %s)", what->word, behaviour->needed ? behaviour->needed : "any");
    if (verdict == SKIPPED)
        printf(" # SKIP %s", what->word);
    if (verdict == NOT_HERE)
        printf(" # SKIP not on this kernel: %s (with our series: %s)", what->word, behaviour->needed);
    printf("\n");
}

/* No word has a character that would have to be escaped. */
static void print_json(const struct behaviour *behaviour, enum verdict verdict, const struct seen *what)
{
    printf("{\"name\":\"%s\",\"seen\":\"%s\",\"verdict\":\"%s\"}\n", shown_name(behaviour), what->word,
           verdict_names[verdict]);
}

void report_plan(enum format format, size_t count)
{
    if (format == TAP)
        printf("TAP version 13\n1..%zu\n", count);
}

enum verdict report(const struct behaviour *behaviour, enum format format)
{
    static void (*const print[])(const struct behaviour *, enum verdict, const struct seen *) = {
        [TEXT] = print_text, [TAP] = print_tap, [JSON] = print_json
    };
    struct seen what = { 0 };
    int ended = look_at(behaviour, &what);
    enum verdict verdict = judge(behaviour, ended, &what);

    print[format](behaviour, verdict, &what);
    fflush(stdout);
    return verdict;
}
