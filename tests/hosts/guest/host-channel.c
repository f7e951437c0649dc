/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands and sockets of a virtual host's agent; see host-channel.h. The frames are described in
 * host-agent.c.
 *
 * Writes to the harness block: it reads always. Writes to a command block too, which is fair, since
 * the harness only sends small requests.
 */
#include "host-channel.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "early.h"

struct channel channels[MAX_CHANNELS];
sigset_t original_signals;
int port;

void write_all(int fd, const void *data, size_t length)
{
    for (const char *next = data; length > 0;) {
        ssize_t done = write(fd, next, length);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0 && fd == port)
            early_die("write to the harness: %s", strerror(errno));
        if (done < 0)
            return; /* a command or socket that has gone: its end is reported anyway */
        next += done;
        length -= (size_t)done;
    }
}

void send_frame(uint32_t number, char kind, const void *data, size_t length)
{
    struct frame frame = {
        .length = htole32((uint32_t)length),
        .channel = htole32(number),
        .kind = kind,
    };

    write_all(port, &frame, sizeof(frame));
    write_all(port, data, length);
}

void send_text(uint32_t number, char kind, const char *text)
{
    send_frame(number, kind, text, strlen(text));
}

struct channel *channel_find(uint32_t number)
{
    for (size_t i = 0; i < MAX_CHANNELS; i++)
        if (channels[i].used && channels[i].number == number)
            return &channels[i];
    return NULL;
}

static struct channel *new_channel(uint32_t number)
{
    for (size_t i = 0; i < MAX_CHANNELS; i++) {
        if (!channels[i].used) {
            channels[i] = (struct channel){ true, number, 0, -1, -1, -1 };
            return &channels[i];
        }
    }
    send_text(number, 'F', "too many channels");
    return NULL;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void channel_free(struct channel *channel)
{
    if (channel->in == channel->out)
        channel->in = -1;
    close_fd(&channel->in);
    close_fd(&channel->out);
    close_fd(&channel->err);
    channel->used = false;
}

void channel_end_input(struct channel *channel)
{
    if (channel->pid == 0)
        shutdown(channel->in, SHUT_WR);
    else
        close_fd(&channel->in);
}

/* Passes on what can be read from *fd; closes it at its end. Returns false when nothing was there. */
bool channel_forward(struct channel *channel, int *fd, char kind)
{
    static char buffer[65536];
    ssize_t length = *fd < 0 ? 0 : read(*fd, buffer, sizeof(buffer));

    if (length > 0) {
        send_frame(channel->number, kind, buffer, (size_t)length);
        return true;
    }
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (channel->pid == 0) {
        send_frame(channel->number, 'E', NULL, 0);
        channel_free(channel);
    } else {
        close_fd(fd);
    }
    return false;
}

static char **split_arguments(char *data, size_t length)
{
    char **arguments = NULL;
    size_t count = 0;

    for (size_t at = 0; at < length; at += strlen(data + at) + 1) {
        arguments = realloc(arguments, (count + 2) * sizeof(*arguments));
        if (!arguments)
            early_die("out of memory");
        arguments[count++] = data + at;
        arguments[count] = NULL;
    }
    return arguments;
}

static void run_child(char **arguments, const int in[2], const int out[2], const int err[2])
{
    setsid();
    sigprocmask(SIG_SETMASK, &original_signals, NULL);
    signal(SIGPIPE, SIG_DFL);
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    dup2(err[1], STDERR_FILENO);
    execvp(arguments[0], arguments);
    dprintf(STDERR_FILENO, "%s: %s\n", arguments[0], strerror(errno));
    _exit(127);
}

static void send_process_id(const struct channel *channel)
{
    char text[16];

    snprintf(text, sizeof(text), "%d", channel->pid);
    send_text(channel->number, 'P', text);
}

void channel_start_command(uint32_t number, char *data, size_t length)
{
    struct channel *channel = new_channel(number);
    char **arguments = split_arguments(data, length);
    int in[2], out[2], err[2];

    if (channel && arguments) {
        if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
            early_die("pipe: %s", strerror(errno));
        channel->pid = fork();
        if (channel->pid < 0)
            early_die("fork: %s", strerror(errno));
        if (channel->pid == 0)
            run_child(arguments, in, out, err);
        send_process_id(channel);
        close(in[0]);
        close(out[1]);
        close(err[1]);
        fcntl(out[0], F_SETFL, O_NONBLOCK);
        fcntl(err[0], F_SETFL, O_NONBLOCK);
        channel->in = in[1];
        channel->out = out[0];
        channel->err = err[0];
    }
    free(arguments);
}

void channel_connect(uint32_t number, const char *path, size_t length)
{
    struct channel *channel = new_channel(number);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd;

    if (!channel)
        return;
    if (length >= sizeof(address.sun_path))
        early_die("path too long: %s", path);
    memcpy(address.sun_path, path, length);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        send_text(number, 'F', strerror(errno));
        close_fd(&fd);
        channel->used = false;
        return;
    }
    channel->in = channel->out = fd;
    send_frame(number, 'O', NULL, 0);
}

void channel_report_end(struct channel *channel, int status)
{
    char text[32];

    while (channel_forward(channel, &channel->out, 'D'))
        ;
    while (channel_forward(channel, &channel->err, '2'))
        ;
    if (WIFEXITED(status))
        snprintf(text, sizeof(text), "exit %d", WEXITSTATUS(status));
    else
        snprintf(text, sizeof(text), "signal %d", WTERMSIG(status));
    send_text(channel->number, 'S', text);
    channel_free(channel);
}
