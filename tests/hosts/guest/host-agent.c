/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Process 1 of a virtual host: boots it (host-boot.c), then does what the test harness asks.
 *
 * The harness is at the other end of a virtio-serial port. Everything on it is frames, in both
 * directions: payload length (u32, little-endian), channel (u32), kind (one byte), payload. The
 * harness chooses channel numbers. A channel is either a command or a connection to a Unix socket:
 *
 *   from the harness                           to the harness
 *   X  start a command: its arguments, each    R  the agent is ready (channel 0, once)
 *      ending in a NUL                         D  standard output, or data of the socket
 *   U  connect to this Unix socket             2  standard error
 *   D  data for standard input or the socket   O  the socket is connected
 *   E  end of that data                        F  could not start or connect: the reason
 *   K  send this signal to the command's       E  the socket is at its end
 *      process group                           S  the command has ended: "exit N" or "signal N";
 *   C  forget the channel                         nothing follows on this channel
 *                                              P  the command runs as this process
 *                                              N  the command said this on $NOTIFY_SOCKET (sd_notify)
 *
 * A command that ends while a child of it holds its output open is reported at once, with what it
 * had written until then: the harness starts daemons that way.
 *
 * Writes to the harness block: it reads always. Writes to a command block too, which is fair, since
 * the harness only sends small requests. Written for one peer that is trusted: errors end the machine.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "early.h"
#include "host-boot.h"

#define PORT "hwp.agent"
#define NOTIFY_SOCKET "/run/hwp-notify"
#define MAX_CHANNELS 128
#define MAX_PAYLOAD (1U << 20)

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

static struct channel channels[MAX_CHANNELS];
static sigset_t original_signals;
static int port;

static void write_all(int fd, const void *data, size_t length)
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

static void send_frame(uint32_t number, char kind, const void *data, size_t length)
{
    struct frame frame = {
        .length = htole32((uint32_t)length),
        .channel = htole32(number),
        .kind = kind,
    };

    write_all(port, &frame, sizeof(frame));
    write_all(port, data, length);
}

static void send_text(uint32_t number, char kind, const char *text)
{
    send_frame(number, kind, text, strlen(text));
}

static struct channel *find_channel(uint32_t number)
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

static void free_channel(struct channel *channel)
{
    if (channel->in == channel->out)
        channel->in = -1;
    close_fd(&channel->in);
    close_fd(&channel->out);
    close_fd(&channel->err);
    channel->used = false;
}

static void end_input(struct channel *channel)
{
    if (channel->pid == 0)
        shutdown(channel->in, SHUT_WR);
    else
        close_fd(&channel->in);
}

/* Passes on what can be read from *fd; closes it at its end. Returns false when nothing was there. */
static bool forward(struct channel *channel, int *fd, char kind)
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
        free_channel(channel);
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

static void start_command(uint32_t number, char *data, size_t length)
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

static void connect_socket(uint32_t number, const char *path, size_t length)
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

static void handle(uint32_t number, char kind, char *data, size_t length)
{
    struct channel *channel = find_channel(number);

    if (kind == 'X')
        start_command(number, data, length);
    else if (kind == 'U')
        connect_socket(number, data, length);
    else if (!channel)
        return; /* ended, and the harness does not know yet */
    else if (kind == 'D')
        write_all(channel->in, data, length);
    else if (kind == 'E')
        end_input(channel);
    else if (kind == 'K' && channel->pid > 0)
        kill(-channel->pid, atoi(data));
    else if (kind == 'C' && channel->pid == 0)
        free_channel(channel);
}

static void read_port(void)
{
    static char buffer[sizeof(struct frame) + MAX_PAYLOAD + 1];
    static size_t filled;
    ssize_t got = read(port, buffer + filled, sizeof(buffer) - 1 - filled);

    if (got <= 0)
        early_die("read from the harness: %s", got < 0 ? strerror(errno) : "end of file");
    filled += (size_t)got;
    while (filled >= sizeof(struct frame)) {
        struct frame *frame = (struct frame *)buffer;
        size_t length = le32toh(frame->length);
        size_t total = sizeof(*frame) + length;
        char after;

        if (length > MAX_PAYLOAD)
            early_die("frame of %zu bytes", length);
        if (filled < total)
            return;
        after = buffer[total]; /* lend the payload a terminating NUL */
        buffer[total] = '\0';
        handle(le32toh(frame->channel), frame->kind, buffer + sizeof(*frame), length);
        buffer[total] = after;
        filled -= total;
        memmove(buffer, buffer + total, filled);
    }
}

static void report_end(struct channel *channel, int status)
{
    char text[32];

    while (forward(channel, &channel->out, 'D'))
        ;
    while (forward(channel, &channel->err, '2'))
        ;
    if (WIFEXITED(status))
        snprintf(text, sizeof(text), "exit %d", WEXITSTATUS(status));
    else
        snprintf(text, sizeof(text), "signal %d", WTERMSIG(status));
    send_text(channel->number, 'S', text);
    free_channel(channel);
}

/* As process 1 we also get the orphans: they are just reaped. */
static void reap(int signals)
{
    struct signalfd_siginfo info;
    int status;
    pid_t pid;

    if (read(signals, &info, sizeof(info)) < 0)
        return;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (size_t i = 0; i < MAX_CHANNELS; i++)
            if (channels[i].used && channels[i].pid == pid)
                report_end(&channels[i], status);
}

static int open_notify(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = NOTIFY_SOCKET };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
        early_die("%s: %s", NOTIFY_SOCKET, strerror(errno));
    setenv("NOTIFY_SOCKET", NOTIFY_SOCKET, 1);
    return fd;
}

static void read_notify(int notify)
{
    char text[4096], control[CMSG_SPACE(sizeof(struct ucred))];
    struct iovec data = { text, sizeof(text) };
    struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
                              .msg_controllen = sizeof(control) };
    ssize_t length = recvmsg(notify, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = length < 0 ? NULL : CMSG_FIRSTHDR(&message);
    struct ucred sender;

    if (!header || header->cmsg_type != SCM_CREDENTIALS)
        return;
    memcpy(&sender, CMSG_DATA(header), sizeof(sender));
    for (size_t i = 0; i < MAX_CHANNELS; i++)
        if (channels[i].used && channels[i].pid == sender.pid)
            send_frame(channels[i].number, 'N', text, (size_t)length);
}

static void forward_ready(const struct pollfd *polled)
{
    for (size_t i = 0; i < MAX_CHANNELS; i++) {
        if (channels[i].used && polled[2 * i].revents && polled[2 * i].fd == channels[i].out)
            forward(&channels[i], &channels[i].out, 'D');
        if (channels[i].used && polled[2 * i + 1].revents && polled[2 * i + 1].fd == channels[i].err)
            forward(&channels[i], &channels[i].err, '2');
    }
}

static void serve(int signals, int notify)
{
    struct pollfd polled[2 * MAX_CHANNELS + 3];

    for (;;) {
        for (size_t i = 0; i < MAX_CHANNELS; i++) {
            bool used = channels[i].used;

            polled[2 * i] = (struct pollfd){ used ? channels[i].out : -1, POLLIN, 0 };
            polled[2 * i + 1] = (struct pollfd){ used ? channels[i].err : -1, POLLIN, 0 };
        }
        polled[2 * MAX_CHANNELS] = (struct pollfd){ port, POLLIN, 0 };
        polled[2 * MAX_CHANNELS + 1] = (struct pollfd){ signals, POLLIN, 0 };
        polled[2 * MAX_CHANNELS + 2] = (struct pollfd){ notify, POLLIN, 0 };
        if (poll(polled, 2 * MAX_CHANNELS + 3, -1) < 0 && errno != EINTR)
            early_die("poll: %s", strerror(errno));
        /* Output first, so that none of it is behind the end of its command. */
        forward_ready(polled);
        if (polled[2 * MAX_CHANNELS + 2].revents)
            read_notify(notify);
        if (polled[2 * MAX_CHANNELS + 1].revents)
            reap(signals);
        if (polled[2 * MAX_CHANNELS].revents)
            read_port();
    }
}

static int block_signals(void)
{
    sigset_t mask;
    int fd;

    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, &original_signals);
    signal(SIGPIPE, SIG_IGN);
    fd = signalfd(-1, &mask, SFD_CLOEXEC);
    if (fd < 0)
        early_die("signalfd: %s", strerror(errno));
    return fd;
}

int main(void)
{
    struct utsname name;
    int signals, notify;

    host_boot();
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    setenv("HOME", "/root", 1);
    signals = block_signals();
    notify = open_notify();
    port = early_open_port(PORT, 20000);
    uname(&name);
    send_text(0, 'R', name.release);
    serve(signals, notify);
    return 0;
}
