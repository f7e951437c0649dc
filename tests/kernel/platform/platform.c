/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a behaviour is looked at; see platform.h. */
#include "platform.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_SECONDS 60 /* also enough under software emulation */

struct platform_options platform_options;

/* Where this process writes what it saw, shared with its parent. */
static struct seen *seen_here;

const char *seen(const char *format, ...)
{
    static char word[sizeof(seen_here->word)];
    char new[sizeof(word)]; /* an argument may be the last word */
    va_list args;

    va_start(args, format);
    vsnprintf(new, sizeof(new), format, args);
    va_end(args);
    return strcpy(word, new);
}

const char *errno_word(int errnum)
{
    const char *name = strerrorname_np(errnum);

    if (errnum == 0)
        return "ok";
    return name ? name : seen("errno %d", errnum);
}

void skip(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(seen_here->word, sizeof(seen_here->word), format, args);
    va_end(args);
    _exit(LOOK_SKIPPED);
}

void broken(const char *what)
{
    snprintf(seen_here->word, sizeof(seen_here->word), "%s: %s", what, errno_word(errno));
    _exit(LOOK_BROKEN);
}

static struct seen *new_seen(void)
{
    struct seen *new = mmap(NULL, sizeof(*new), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (new == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    return new;
}

/* In the child: looks, says what was seen, and ends. */
static void __attribute__((noreturn))
look_and_end(const char *(*function)(void *), void *argument, struct seen *where)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(LOOK_SECONDS);
    seen_here = where;
    snprintf(where->word, sizeof(where->word), "%s", function(argument));
    _exit(LOOK_DONE);
}

/* Waits for a child; a signal that ended it becomes what was seen. */
static int how_it_ended(pid_t child, struct seen *where)
{
    int status;

    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return LOOK_BROKEN;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    if (WTERMSIG(status) == SIGALRM)
        snprintf(where->word, sizeof(where->word), "hangs");
    else
        snprintf(where->word, sizeof(where->word), "killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
    return LOOK_BROKEN;
}

static int run_in_child(const char *(*function)(void *), void *argument, struct seen *ret_seen)
{
    struct seen *where = new_seen();
    pid_t child = fork();
    int ended;

    if (child < 0) {
        perror("fork");
        exit(2);
    }
    if (child == 0)
        look_and_end(function, argument, where);
    ended = how_it_ended(child, where);
    *ret_seen = *where;
    munmap(where, sizeof(*where));
    return ended;
}

const char *in_child(const char *(*function)(void *), void *argument)
{
    struct seen theirs = { 0 };

    if (run_in_child(function, argument, &theirs) == LOOK_SKIPPED)
        skip("%s", theirs.word);
    return seen("%s", theirs.word);
}

static const char *call_look(void *behaviour)
{
    return ((const struct behaviour *)behaviour)->look();
}

int look_at(const struct behaviour *behaviour, struct seen *ret_seen)
{
    return run_in_child(call_look, (void *)(uintptr_t)behaviour, ret_seen);
}
