/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's life
 *
 * Start: read the configuration, take over or make the two sockets, give up the system calls that are not
 * needed any more (sandbox.c), tell systemd that we are ready.
 * SIGHUP: read the configuration again; a bad one is reported and the old one stays; the paths of
 * sockets stay in any case. SIGTERM, SIGINT: close what no worker has, wait some seconds for those
 * that one has (their requests are answered), remove the sockets, exit. A worker that hangs in the
 * kernel is left to the exit of the process: no waiting could free it.
 *
 * When nothing happens, nothing runs: the main loop waits in one poll() without a timeout, except
 * for systemd's watchdog where the unit asks for one.
 */
#include "daemon.h"

#include <errno.h>
#include <glib-unix.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "config.h"
#include "control-server.h"
#include "inventory.h"
#include "poison-job.h"
#include "util/closer.h"
#include "util/listener.h"
#include "util/log.h"
#include "util/notify.h"
#include "util/sandbox.h"
#include "vmm-server.h"

#define DRAIN_MS    5000u
#define WANTED_FDS  131072u /* a hostile VMM can make each connection hold 254 for a while */

typedef struct {
    const char *config_file; /* as given, or NULL */
    const char *vmm_socket;  /* as given, or NULL */
    const char *control_socket;
    Config *config;
    GMainLoop *loop;
    Inventory *inventory;
    PoisonPool *pool;
    Closer *closer;
    Closer *control_closer;
    Listener *vmm_listener;
    Listener *control_listener;
    VmmServer *vmm_server;
    ControlServer *control_server;
} Daemon;

static void override(char **setting, const char *option)
{
    if (!option)
        return;
    g_free(*setting);
    *setting = g_strdup(option);
}

/* The configuration with the options on top; without --config a missing file is no error. */
static Config *load_config(const Daemon *d, GError **error)
{
    g_autoptr(GError) load_error = NULL;
    const char *file = d->config_file ? d->config_file : CONFIG_DEFAULT_FILE;
    Config *config = config_load(file, &load_error);

    if (!config && !d->config_file && g_error_matches(load_error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
        config = config_new();
    if (!config) {
        g_propagate_error(error, g_steal_pointer(&load_error));
        return NULL;
    }
    override(&config->vmm_socket, d->vmm_socket);
    override(&config->control_socket, d->control_socket);
    return config;
}

/* The listening socket that systemd passed for this path, or -1. */
static int socket_from_systemd(const char *path)
{
    int n = sd_listen_fds(0);

    for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++)
        if (sd_is_socket_unix(fd, SOCK_STREAM, 1, path, 0) > 0)
            return fd;
    return -1;
}

static Listener *open_listener(const char *path, const char *group, GError **error)
{
    int fd = socket_from_systemd(path);

    return fd >= 0 ? listener_adopt(fd, path, error) : listener_open(path, group, error);
}

static gboolean open_listeners(Daemon *d, GError **error)
{
    d->vmm_listener = open_listener(d->config->vmm_socket, d->config->vmm_group, error);
    if (!d->vmm_listener)
        return FALSE;
    d->control_listener = open_listener(d->config->control_socket, d->config->control_group, error);
    return d->control_listener != NULL;
}

static gboolean start(Daemon *d, GError **error)
{
    ControlView view;

    d->config = load_config(d, error);
    if (!d->config)
        return FALSE;
    log_set_level(d->config->log_level);
    d->pool = poison_pool_new(d->config->max_connections, error);
    d->closer = d->pool ? closer_new(1, error) : NULL; /* the server asks for more */
    d->control_closer = d->closer ? closer_new(CONTROL_MAX_CONNECTIONS, error) : NULL;
    if (!d->control_closer || !open_listeners(d, error))
        return FALSE;
    d->inventory = inventory_new();
    d->vmm_server = vmm_server_new(d->vmm_listener, d->config, d->inventory, d->pool,
                                   d->closer);
    view = (ControlView){ .inventory = d->inventory,
                          .vmm_server = d->vmm_server,
                          .vmm_socket = d->vmm_listener->path,
                          .policy = d->config->policy };
    d->control_server = control_server_new(d->control_listener, d->control_closer, &view);
    return TRUE;
}

static void use_config(Daemon *d, Config *config)
{
    if (strcmp(config->vmm_socket, d->config->vmm_socket) != 0 ||
        strcmp(config->control_socket, d->config->control_socket) != 0)
        log_agent(G_LOG_LEVEL_WARNING, "sockets change only when the agent is restarted");
    log_set_level(config->log_level);
    poison_pool_allow(d->pool, config->max_connections);
    vmm_server_set_config(d->vmm_server, config);
    control_server_set_policy(d->control_server, &config->policy);
    config_free(d->config);
    d->config = config;
}

static gboolean on_reload(gpointer user_data)
{
    g_autofree char *reloading =
        g_strdup_printf("RELOADING=1\nMONOTONIC_USEC=%" G_GINT64_FORMAT, g_get_monotonic_time());
    Daemon *d = user_data;
    g_autoptr(GError) error = NULL;
    Config *config;

    notify_send(reloading);
    config = load_config(d, &error);
    if (config) {
        use_config(d, config);
        log_agent(G_LOG_LEVEL_INFO, "configuration read again");
    } else {
        log_agent(G_LOG_LEVEL_CRITICAL, "configuration stays as it was: %s", error->message);
    }
    notify_send("READY=1");
    return G_SOURCE_CONTINUE;
}

static gboolean on_terminate(gpointer user_data)
{
    Daemon *d = user_data;

    g_main_loop_quit(d->loop);
    return G_SOURCE_CONTINUE;
}

static gboolean on_watchdog(gpointer user_data)
{
    notify_send("WATCHDOG=1");
    return G_SOURCE_CONTINUE;
}

static void add_sources(Daemon *d)
{
    guint64 watchdog_us;

    g_unix_signal_add(SIGHUP, on_reload, d);
    g_unix_signal_add(SIGTERM, on_terminate, d);
    g_unix_signal_add(SIGINT, on_terminate, d);
    if (sd_watchdog_enabled(0, &watchdog_us) > 0)
        g_timeout_add((guint)(watchdog_us / 2000), on_watchdog, NULL);
}

static gboolean on_drain_deadline(gpointer user_data)
{
    *(gboolean *)user_data = TRUE;
    return G_SOURCE_CONTINUE;
}

static guint connections(const Daemon *d)
{
    return vmm_server_connections(d->vmm_server) + control_server_connections(d->control_server);
}

/* Lets workers finish; FALSE if some did not. */
static gboolean drain(Daemon *d)
{
    gboolean late = FALSE;
    guint timer = g_timeout_add(DRAIN_MS, on_drain_deadline, &late);

    while (connections(d) > 0 && !late)
        g_main_context_iteration(NULL, TRUE);
    g_source_remove(timer);
    return connections(d) == 0;
}

/* Frees everything; FALSE if a worker still needs some of it. */
static gboolean stop(Daemon *d)
{
    gboolean serving = d->control_server != NULL; /* the last that start() makes */

    if (serving) {
        control_server_stop(d->control_server);
        vmm_server_stop(d->vmm_server);
    }
    g_clear_pointer(&d->control_listener, listener_free);
    g_clear_pointer(&d->vmm_listener, listener_free);
    if (serving && !drain(d))
        return FALSE;
    g_clear_pointer(&d->control_server, control_server_free);
    g_clear_pointer(&d->vmm_server, vmm_server_free);
    g_clear_pointer(&d->pool, poison_pool_free);
    g_clear_pointer(&d->closer, closer_free);
    g_clear_pointer(&d->control_closer, closer_free);
    g_clear_pointer(&d->inventory, inventory_free);
    g_clear_pointer(&d->config, config_free);
    g_clear_pointer(&d->loop, g_main_loop_unref);
    return TRUE;
}

static void raise_fd_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = MIN(limit.rlim_max, MAX(limit.rlim_cur, WANTED_FDS));
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* Threads come and go, and buffers are large or small: keep one heap, and give large ones back. */
static void tune_malloc(void)
{
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 64 * 1024);
    mallopt(M_TRIM_THRESHOLD, 64 * 1024);
}

/* From here on the process has all it needs, and nothing of a stranger's yet. */
static void enter_sandbox(void)
{
    int r = sandbox_enter();

    if (r < 0)
        log_agent(G_LOG_LEVEL_WARNING, "system calls are not filtered (seccomp: %s)", g_strerror(-r));
}

static void serve(Daemon *d)
{
    add_sources(d);
    enter_sandbox();
    log_agent(G_LOG_LEVEL_INFO, "hwpoisond %s serves VMMs at %s", HWPOISOND_VERSION, d->vmm_listener->path);
    if (!vmm_server_can_poison(d->vmm_server))
        log_agent(G_LOG_LEVEL_WARNING, "this kernel has no UFFDIO_POISON: nothing can be poisoned");
    notify_send("READY=1");
    g_main_loop_run(d->loop);
    notify_send("STOPPING=1");
}

/**
 * daemon_run() - be the daemon until a signal ends it
 * @config_file: --config, or NULL
 * @vmm_socket: --socket, or NULL
 * @control_socket: --control-socket, or NULL
 *
 * Return: exit status.
 */
int daemon_run(const char *config_file, const char *vmm_socket, const char *control_socket)
{
    g_autoptr(GError) error = NULL;
    Daemon d = { .config_file = config_file, .vmm_socket = vmm_socket, .control_socket = control_socket };
    gboolean started;

    tune_malloc();
    raise_fd_limit();
    signal(SIGPIPE, SIG_IGN);
    log_init(G_LOG_LEVEL_INFO);
    notify_open();
    d.loop = g_main_loop_new(NULL, FALSE);
    started = start(&d, &error);
    if (started)
        serve(&d);
    else
        log_agent(G_LOG_LEVEL_CRITICAL, "%s", error->message);
    if (!stop(&d)) {
        log_agent(G_LOG_LEVEL_WARNING, "left a worker behind that hangs in the kernel");
        _exit(EXIT_FAILURE);
    }
    return started ? EXIT_SUCCESS : EXIT_FAILURE;
}
