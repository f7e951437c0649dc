/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What runs in a virtual host for the harness: a table of commands and connections to Unix sockets. */
#ifndef HWP_HOST_CHANNEL_H
#define HWP_HOST_CHANNEL_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MAX_CHANNELS 128

/* The head of what goes over the port, in both directions. */
struct frame {
    uint32_t length;
    uint32_t channel;
    char kind;
} __attribute__((packed));

/* One command (pid > 0; in, out, err are pipes) or one socket (pid 0; in and out are the socket). */
struct channel {
    bool used;
    uint32_t number;
    pid_t pid;
    int in;
    int out;
    int err;
};

extern struct channel channels[MAX_CHANNELS];
/* The signal mask that commands get. */
extern sigset_t original_signals;
/* The port to the harness. */
extern int port;

/* Writes all of it; what a command or socket that has gone does not take is dropped. */
void write_all(int fd, const void *data, size_t length);

/* Send one frame to the harness. */
void send_frame(uint32_t number, char kind, const void *data, size_t length);
void send_text(uint32_t number, char kind, const char *text);

/* The channel with this number, or NULL. */
struct channel *channel_find(uint32_t number);

/* Starts a command; `data` holds its arguments, each ending in a NUL. */
void channel_start_command(uint32_t number, char *data, size_t length);

/* Connects to a Unix socket. */
void channel_connect(uint32_t number, const char *path, size_t length);

/* Ends the input of a command, or our direction of a socket. */
void channel_end_input(struct channel *channel);

/*
 * Passes on what can be read from *fd, one of the channel's; closes it at its end. Returns false when
 * nothing was there.
 */
bool channel_forward(struct channel *channel, int *fd, char kind);

/* Tells the harness how a command has ended (`status` of waitpid), after the rest of its output. */
void channel_report_end(struct channel *channel, int status);

/* Closes what a channel has open and gives its place free. */
void channel_free(struct channel *channel);

#endif
