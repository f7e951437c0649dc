/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The boot of a virtual host; see host-boot.h.
 *
 * The kernel command line says what is different from host to host: hwp.address=10.77.0.1 (no network
 * without it) and hwp.name=a. The two 9p exports have the tags `root` and `shared`.
 */
#include "host-boot.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "early.h"

#define NEW_ROOT "/new-root"
/* msize: one 9p request carries this much; the default of 128 KiB costs a third more time to boot. */
#define TRANSPORT "trans=virtio,version=9p2000.L,msize=512000,"

static void mount_root(void)
{
    early_mount("root", "/machine", "9p", MS_RDONLY, TRANSPORT "cache=loose");
    early_mount("tmpfs", "/layer", "tmpfs", 0, "size=75%,mode=0755");
    if (mkdir("/layer/upper", 0755) < 0 || mkdir("/layer/work", 0755) < 0)
        early_die("overlay directories: %s", strerror(errno));
    early_mount("overlay", NEW_ROOT, "overlay", 0,
                "lowerdir=/machine,upperdir=/layer/upper,workdir=/layer/work");
}

static void mount_rest(void)
{
    early_mount_basics(NEW_ROOT);
    early_mount("devpts", NEW_ROOT "/dev/pts", "devpts", 0, "gid=5,mode=620,ptmxmode=666");
    early_mount("tmpfs", NEW_ROOT "/dev/shm", "tmpfs", 0, NULL);
    early_mount("tmpfs", NEW_ROOT "/run", "tmpfs", 0, "mode=0755");
    early_mount("debugfs", NEW_ROOT "/sys/kernel/debug", "debugfs", 0, NULL);
    early_mount("tracefs", NEW_ROOT "/sys/kernel/tracing", "tracefs", 0, NULL);
    early_mount("shared", NEW_ROOT "/shared", "9p", 0, TRANSPORT "cache=none");
}

static void enter_root(void)
{
    if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
        chdir("/") < 0)
        early_die("change of root: %s", strerror(errno));
}

/* A program that crashes leaves its core where the harness keeps logs. */
static void keep_cores(void)
{
    struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

    if (setrlimit(RLIMIT_CORE, &unlimited) < 0 ||
        early_write_file("/proc/sys/kernel/core_pattern", "/shared/core.%e.%p") < 0)
        early_die("core pattern: %s", strerror(errno));
}

/*
 * Has the kernel leave pages where they are: between a test's look for a page's frame and the injection, khugepaged
 * would move it at times, and a frame be poisoned that nobody uses any more.
 */
static void keep_frames(void)
{
    const char *never = "4294967295";

    /* A kernel without huge pages has neither */
    early_write_file("/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs", never);
    early_write_file("/sys/kernel/mm/transparent_hugepage/khugepaged/alloc_sleep_millisecs", never);
}

void host_boot(void)
{
    char value[64];

    early_mount_basics("");
    mount_root();
    mount_rest();
    if (early_option("hwp.name", value, sizeof(value)) && sethostname(value, strlen(value)) < 0)
        early_die("host name: %s", strerror(errno));
    early_raise_interface("lo", "127.0.0.1");
    if (early_option("hwp.address", value, sizeof(value)))
        early_raise_interface("eth0", value);
    enter_root();
    keep_cores();
    keep_frames();
}
