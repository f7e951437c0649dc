/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control groups
 *
 * Of cgroup v2, what the files below its mount say. A cgroup is known by the inode number and the path of its
 * directory, as another one can have its path when it is gone; the kernel gives no number twice.
 *
 * Threads of a process can be in cgroups below that of the process ("threaded" ones; libvirt makes one for each
 * virtual CPU). A child is in that of the thread which made it, so all of these count as the one above them.
 *
 * Where that cannot be known (cgroup v1, the root, a cgroup that our mount does not show) a cgroup is known by
 * all that /proc/PID/cgroup says.
 */
#include "cgroup.h"

#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

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

/* The inode number and the path of the cgroup that processes are in, or NULL. */
static char *name_of(const char *text)
{
    g_autofree char *directory = directory_of(text);
    struct stat st;

    while (directory && is_threaded(directory)) {
        char *above = g_path_get_dirname(directory);

        g_free(directory);
        directory = above;
    }
    if (!directory || g_str_has_suffix(directory, "/") || stat(directory, &st) < 0)
        return NULL;
    return g_strdup_printf("%" G_GUINT64_FORMAT " %s", (guint64)st.st_ino, directory);
}

/**
 * cgroup_of() - which cgroup is a process in?
 * @pid: its process id
 *
 * Return: a new string, equal for processes of the same cgroup, or NULL: there is no such process, or no cgroups.
 */
char *cgroup_of(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/cgroup", (int)pid);
    g_autofree char *text = NULL;
    char *name;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return NULL;
    name = name_of(text);
    return name ? name : g_steal_pointer(&text);
}
