/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control groups
 *
 * Of cgroup v2, what the files below its mount say. A cgroup is known by the inode number and the path of its
 * directory, as another one can have its path when it is gone; the kernel gives no number twice.
 *
 * Threads of a process can be in cgroups below that of the process ("threaded" ones; libvirt makes one for each
 * virtual CPU). A child is in that of the thread which made it, so all of these count as the one above them. So do
 * cgroups that are not root's: systemd hands a user's to that user, who can make more below it, and move processes.
 *
 * Where that cannot be known (cgroup v1, the root, a cgroup that our mount does not show) a cgroup is known by
 * all that /proc/PID/cgroup says.
 */
#include "cgroup.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* The second is where systemd has it beside cgroup v1. */
static const char *const mounts[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };

static const char *mount_point(void)
{
    struct statfs fs;

    for (guint i = 0; i < G_N_ELEMENTS(mounts); i++)
        if (statfs(mounts[i], &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
            return mounts[i];
    return NULL;
}

/* The directory of a process's cgroup, from /proc/PID/cgroup; NULL if there is none. */
static char *directory_of(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    const char *mount = mount_point();

    for (guint i = 0; mount && lines[i]; i++)
        if (g_str_has_prefix(lines[i], "0::/") && !g_str_has_prefix(lines[i], "0::/.."))
            return g_strconcat(mount, lines[i] + strlen("0::"), NULL);
    return NULL;
}

/* The whole of a file in a cgroup's directory, or NULL. */
static char *read_file(const char *directory, const char *name)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text;
}

static gboolean is_threaded(const char *directory)
{
    g_autofree char *type = read_file(directory, "cgroup.type");

    return g_strcmp0(type, "threaded\n") == 0;
}

static gboolean is_handed_out(const char *directory)
{
    struct stat st;

    return stat(directory, &st) == 0 && st.st_uid != 0;
}

/* Can the processes in it leave it, and stay below the one above? */
static gboolean can_be_left(const char *directory)
{
    return g_strcmp0(directory, mount_point()) != 0 && (is_threaded(directory) || is_handed_out(directory));
}

/* The inode number and the path of the cgroup that processes are in and cannot leave, or NULL. */
static char *name_of(const char *text)
{
    g_autofree char *directory = directory_of(text);
    struct stat st;

    if (!directory || g_str_has_suffix(directory, "/"))
        return NULL;
    while (can_be_left(directory)) {
        char *above = g_path_get_dirname(directory);

        g_free(directory);
        directory = above;
    }
    if (stat(directory, &st) < 0)
        return NULL;
    return g_strdup_printf("%" G_GUINT64_FORMAT " %s", (guint64)st.st_ino, directory);
}

static char *read_membership(const char *pid)
{
    g_autofree char *path = g_build_filename("/proc", pid, "cgroup", NULL);
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text;
}

/**
 * cgroup_of() - which cgroup is a process in?
 * @pid: its process id
 *
 * Return: a new string, equal for processes of the same cgroup, or NULL: there is no such process, or no cgroups.
 */
char *cgroup_of(pid_t pid)
{
    g_autofree char *number = g_strdup_printf("%d", (int)pid);
    g_autofree char *text = read_membership(number);
    char *name;

    if (!text)
        return NULL;
    name = name_of(text);
    return name ? name : g_steal_pointer(&text);
}

/**
 * cgroup_is_empty() - is there no process in a cgroup, nor below it?
 * @cgroup: from cgroup_of()
 *
 * Return: TRUE also if it is gone; FALSE if that cannot be known.
 */
gboolean cgroup_is_empty(const char *cgroup)
{
    g_autofree char *events = NULL;
    char *directory;
    guint64 inode = g_ascii_strtoull(cgroup, &directory, 10);
    struct stat st;

    if (inode == 0 || !g_str_has_prefix(directory, " /"))
        return FALSE;
    directory++;
    if (stat(directory, &st) < 0)
        return errno == ENOENT;
    events = read_file(directory, "cgroup.events");
    return st.st_ino != inode || (events && g_str_has_prefix(events, "populated 0\n"));
}

/**
 * cgroup_own_tables() - the page tables that this process's cgroup is charged for
 *
 * The kernel may be two seconds behind.
 *
 * Return: how many pages; G_MAXUINT64 if that cannot be known.
 */
guint64 cgroup_own_tables(void)
{
    static const char key[] = "\npagetables ";
    g_autofree char *text = read_membership("self");
    g_autofree char *directory = text ? directory_of(text) : NULL;
    g_autofree char *statistics = directory ? read_file(directory, "memory.stat") : NULL;
    const char *line = statistics ? strstr(statistics, key) : NULL;

    return line ? g_ascii_strtoull(line + strlen(key), NULL, 10) / (guint64)sysconf(_SC_PAGESIZE) : G_MAXUINT64;
}
