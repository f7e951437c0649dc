/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One behaviour of the kernel that hwpoisond, and QEMU with our series, rely on: how it is looked at.
 *
 * Each is a little program in a process of its own: it looks, and returns what it saw in a few words that
 * are the same on each run. What is wanted of the kernel is declared beside it, not computed:
 *
 *   ALWAYS("kept")    hwpoisond does not work as designed where this is not seen
 *   PATCHED("kept")   so with our series; without it, known not to be so, and the documents say what follows
 *   INFORMATIVE       known, and watched, but nothing rests on it
 *
 * The program `table` reads the declarations from the source, so they keep the form that is used here:
 * a SUBJECT for each file, and a BEHAVIOUR with its arguments as literal strings.
 */
#pragma once

enum when { WHEN_INFORMATIVE, WHEN_ALWAYS, WHEN_PATCHED };

struct behaviour {
    const char *name; /* with '_', shown as '-' */
    const char *file;
    int line;
    enum when when;
    const char *needed;
    const char *(*look)(void);
};

#define ALWAYS(word)   .when = WHEN_ALWAYS, .needed = (word)
#define PATCHED(word)  .when = WHEN_PATCHED, .needed = (word)
#define INFORMATIVE    .when = WHEN_INFORMATIVE

/* What the behaviours of a file have in common. */
#define SUBJECT(title) _Static_assert(sizeof(title) > 1, "a title")

/*
 * Begins a behaviour; its body follows. `why` is what rests on it, `who` the file that does. The linker
 * collects them, in no order.
 */
#define BEHAVIOUR(id, expected, why, who)                                                                    \
    _Static_assert(sizeof(why) > 1 && sizeof(who) > 1, "a reason");                                          \
    static const char *id(void);                                                                             \
    static const struct behaviour behaviour_##id = {                                                         \
        .name = #id, .file = __FILE__, .line = __LINE__, expected, .look = (id)                              \
    };                                                                                                       \
    static const struct behaviour *const listed_##id __attribute__((used, section("behaviours"))) =          \
        &behaviour_##id;                                                                                     \
    static const char *id(void)

enum { LOOK_DONE = 0, LOOK_BROKEN = 1, LOOK_SKIPPED = 77 };

/* How a look ended, and what was seen: or why nothing was. Of all processes of the look. */
struct seen {
    char word[160];
};

/* The program's options that looks want to know. */
struct platform_options {
    _Bool patched; /* the kernel has our series */
    _Bool real;    /* real pages may be poisoned, and devices made: a virtual host */
};
extern struct platform_options platform_options;

/* Runs one behaviour in a child; returns LOOK_*. */
int look_at(const struct behaviour *behaviour, struct seen *seen);

/* Formats what was seen; lives as long as the process. */
const char *seen(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "ok" for 0, else the name of the errno. */
const char *errno_word(int errnum);

/* Ends the look: it cannot be done here. */
void skip(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Ends the look: what should have worked did not; names errno. */
void broken(const char *what) __attribute__((noreturn));

/* Calls a function in a child of the look; returns what that saw, or how it ended. */
const char *in_child(const char *(*function)(void *), void *argument);
