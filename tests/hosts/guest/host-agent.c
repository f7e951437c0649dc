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
 * Written for one peer that is trusted: errors end the machine. host-channel.c does the work.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
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
#include "host-channel.h"

#define PORT "hwp.agent"
#define NOTIFY_SOCKET "/run/hwp-notify"
#define MAX_PAYLOAD (1U << 20)

static void handle(uint32_t number, char kind, char *data, size_t length)
{
    struct channel *channel = channel_find(number);

    if (kind == 'X')
        channel_start_command(number, data, length);
    else if (kind == 'U')
        channel_connect(number, data, length);
    else if (!channel)
        return; /* ended, and the harness does not know yet */
    else if (kind == 'D')
        write_all(channel->in, data, length);
    else if (kind == 'E')
        channel_end_input(channel);
    else if (kind == 'K' && channel->pid > 0)
        kill(-channel->pid, atoi(data));
    else if (kind == 'C' && channel->pid == 0)
        channel_free(channel);
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
                channel_report_end(&channels[i], status);
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
            channel_forward(&channels[i], &channels[i].out, 'D');
        if (channels[i].used && polled[2 * i + 1].revents && polled[2 * i + 1].fd == channels[i].err)
            channel_forward(&channels[i], &channels[i].err, '2');
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
